"""PROTOCOL 2: balances, which every persister wants, are taken last and in one order: none waits in a circle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from indexer.errors import PoisonError
from indexer.records import DecodedBlock, TokenTransfers
from indexer.settings import Settings
from tests.integration.persister.harness import Persister, Value, heights, rows, state
from tests.support.blocks import BlockMaker
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration
make = BlockMaker()
LOW, HIGH, HOLDER = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20


def block(number: int) -> DecodedBlock:
    """A block that gives the holder some of both tokens, the higher key first."""
    made = make(number)
    made.token_transfers = TokenTransfers(
        [0, 1], [0, 0], [HIGH, LOW], ["erc20"] * 2, ["transfer"] * 2, [bytes(20)] * 2, [HOLDER] * 2, [0, 0], [5, 7]
    )
    return made


@pytest.fixture
def patient(settings: Settings) -> Iterator[Persister]:
    """A persister that waits for locks for longer than a look takes; both balances are there."""
    one = Persister(replace(settings, lock_timeout_seconds=20.0)).own()
    one.write(block(1))
    yield one
    one.close()


@contextmanager
def held_up(settings: Settings, look: psycopg.Connection, one: Persister, *values: Value) -> Iterator[int]:
    """Let it write while somebody holds the higher balance; yields its back-end, which waits for that."""
    batch = one.handle(*values)
    [(pid,)] = set(rows(look, "SELECT backend_pid FROM consumer_progress"))
    writes = threading.Thread(target=one.write_again, args=(batch,))
    with psycopg.connect(settings.database_url) as other:
        other.execute("UPDATE balances SET balance = balance WHERE token_address = %s", (HIGH,))
        writes.start()
        wait_for(lambda: rows(look, "SELECT 1 WHERE cardinality(pg_blocking_pids(%s)) > 0", pid), 15, "it waits")
        yield pid
        other.rollback()
    writes.join(20)


def test_rule_2_balances_are_taken_in_key_order(
    settings: Settings, look: psycopg.Connection, patient: Persister
) -> None:
    free = "SELECT token_address FROM balances WHERE token_address = %s FOR UPDATE SKIP LOCKED"

    with held_up(settings, look, patient, block(2)):
        assert rows(look, free, LOW) == []  # it was there before

    assert heights(look) == [1, 2]
    state(look)


def test_rule_2_balances_come_last(
    settings: Settings, look: psycopg.Connection, patient: Persister, job: Callable[..., int]
) -> None:
    job(0)

    with held_up(settings, look, patient, block(2), PoisonError("no", code="NOT_AVRO")) as pid:
        written = rows(
            look, "SELECT relation::regclass::text FROM pg_locks WHERE pid = %s AND mode = 'RowExclusiveLock'", pid
        )

    assert {("consumer_progress",), ("block_processing",), ("job_coverage",), ("outbox",)} <= set(written)
    assert heights(look) == [1, 2]
