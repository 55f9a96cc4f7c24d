"""PROTOCOL 7: what a Rollback takes away, in one transaction, as often as it comes."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from indexer.records import Rollback
from indexer.storage import jobs
from indexer.topics import partition_of
from tests.integration.persister.harness import PARTITIONS, Persister, bits, heights, rows, state
from tests.support.blocks import CHAIN, BlockMaker

pytestmark = pytest.mark.integration
Make = Callable[..., Persister]
make = BlockMaker()
PARTITION = 0
MINE = [n for n in range(0, 256, 16) if partition_of(n, PARTITIONS) == PARTITION]
OTHERS = [n for n in range(0, 256, 16) if partition_of(n, PARTITIONS) != PARTITION]


def test_rule_7_older_rows_of_the_partition_go(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    wanting = job(0, 1, 2, 3, state="done")
    one = persister().own()
    one.write(*[make(n) for n in MINE + OTHERS])
    before = state(look)

    one.write(Rollback(CHAIN, MINE[2], 5))

    left = sorted(MINE[:2] + OTHERS)
    assert heights(look) == left
    assert heights(look, "transactions") == left
    assert heights(look, "block_processing") == left
    assert bits(look, wanting) == set(left)
    assert state(look).total != before.total
    assert rows(look, "SELECT state FROM processing_jobs") == [("queued",)]
    assert rows(look, "SELECT from_number, generation FROM rollbacks") == [(MINE[2], 5)]
    assert rows(look, "SELECT applied_generation FROM consumer_progress ORDER BY partition") == [(5,), (0,)]


def test_rule_7_dead_bits_of_every_job_go_too(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    number = MINE[2]
    repairing, other = job(number // 64, reason="repair"), job(number // 64)
    one = persister().own()
    one.write(make(number))
    failed = "UPDATE job_coverage SET dead = (1::bigint << %s)::bit(64) WHERE job_id = %s"
    look.execute(failed, (number % 64, repairing))

    one.write(Rollback(CHAIN, number, 5))

    assert (bits(look, repairing, "dead"), bits(look, other)) == (set(), set())
    assert rows(look, "SELECT DISTINCT published_at FROM job_coverage") == [(None,)]


def test_rule_7_a_job_does_not_end_while_a_rollback_of_its_blocks_is_not_committed(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    number = MINE[2]
    wanting = job(number // 64, wanted=1 << number % 64)
    jobs.take_leases(look, CHAIN, "owner", 30, 1)
    tried: list[tuple[int, bool]] = []

    def finish() -> None:
        lease = jobs.renew_lease(look, wanting, "owner", None, 30)
        assert lease is not None
        tried.append((lease.under_way, jobs.finish_job(look, lease, "owner", "done", "")))

    one = persister().own()
    one.write(make(number))
    one.faults["persister.between-copy-and-commit"] = finish
    one.write(Rollback(CHAIN, number, 5))
    finish()
    one.faults.clear()
    one.write(make(number, fork=1, generation=5))
    finish()

    assert tried == [(0, False), (1, False), (0, True)]
    assert rows(look, "SELECT state FROM processing_jobs") == [("done",)]


def test_rule_7_a_job_does_not_end_on_a_count_that_a_rollback_made_old(
    persister: Make, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    number = MINE[2]
    wanting = job(number // 64, wanted=1 << number % 64)
    jobs.take_leases(look, CHAIN, "owner", 30, 1)
    one = persister().own()
    one.write(make(number))
    lease = jobs.renew_lease(look, wanting, "owner", None, 30)
    assert lease is not None
    assert lease.under_way == 0

    one.write(Rollback(CHAIN, number, 5))

    assert not jobs.finish_job(look, lease, "owner", "done", "")


def test_rule_7_repeats_are_harmless(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(*[make(n) for n in MINE])
    one.write(Rollback(CHAIN, MINE[2], 5))
    one.write(make(MINE[3], fork=1, generation=5))
    before = state(look)

    one.write(Rollback(CHAIN, MINE[2], 5))

    assert state(look) == before


def test_rule_7_an_unknown_rollback_lowers_what_readers_may_trust(persister: Make, look: psycopg.Connection) -> None:
    look.execute("INSERT INTO chain_state (chain_id, canonical_to) VALUES (43114, 1000)")
    one = persister().own()

    one.write(Rollback(CHAIN, 500, 5))
    assert rows(look, "SELECT canonical_to FROM canonical_to") == [(499,)]
    look.execute("UPDATE chain_state SET canonical_to = 600")
    one.write(Rollback(CHAIN, 500, 5))

    assert rows(look, "SELECT canonical_to FROM canonical_to") == [(600,)]


def test_a_rollback_between_blocks_of_one_batch(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    low, high = MINE[0], MINE[4]

    one.write(
        make(low),
        make(high),
        Rollback(CHAIN, MINE[2], 5),
        make(high, fork=1, generation=4),
        make(high, fork=2, generation=5),
    )

    assert heights(look) == [low, high]
    assert one.writer.refused_blocks == 1  # of the losing branch, behind the rollback
    assert rows(look, "SELECT hash FROM blocks WHERE number = %s", high) == [(make(high, fork=2).header.hash,)]
    state(look)
