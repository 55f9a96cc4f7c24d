"""What the follower records, on a real database: one transaction each, and only under the lease (PROTOCOL 5, 6, 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from indexer.errors import UserError
from indexer.records import BlockRef, Reason, Rollback
from indexer.settings import Settings
from indexer.storage import engine, following, jobs
from indexer.storage.jobs import Connection
from indexer.storage.partitions import ensure_partitions
from services.producer.follower import LeaseLost
from services.producer.head import Append, Raise, Skip, Stop
from services.producer.records import PostgresRecords
from tests.support.rows import insert_blocks

pytestmark = pytest.mark.integration
CHAIN, PARTITIONS = 43114, 3
Make = Callable[..., PostgresRecords]


def ref(number: int, branch: int = 0) -> BlockRef:
    return BlockRef(number, hash_of(number, branch), hash_of(number - 1, branch))


def hash_of(number: int, branch: int = 0) -> bytes:
    """The hash that tests.support.rows gives a block, or one of another branch."""
    return (number + branch * 2**64).to_bytes(32, "big", signed=True)


def refs(first: int, last: int, branch: int = 0) -> tuple[BlockRef, ...]:
    return tuple(ref(number, branch) for number in range(first, last + 1))


@pytest.fixture
def records(migrated: Settings) -> Make:
    """Make followers' records; their clock stands still unless it is given."""

    def make(owner: str = "one", **options: Any) -> PostgresRecords:
        connection = engine.connect(migrated, "follower", autocommit=True)
        own = {"group": "persister", "topic": "blocks.decoded", "partitions": PARTITIONS, "lagging": set}
        return PostgresRecords(connection, chain_id=CHAIN, owner=owner, **{**own, **options})

    return make


@pytest.fixture
def begun(records: Make, database: Connection) -> PostgresRecords:
    """A follower that recorded 100 … 109, of which 105 is final."""
    following.start(database, CHAIN, 100, None)
    one = records()
    one.record(state(one), Append(refs(100, 109)), 105)
    return one


def state(one: PostgresRecords) -> Any:
    found = one.read()
    assert found is not None
    return found


def chain_state(database: Connection) -> tuple[Any, ...]:
    row = database.execute("SELECT generation, finalized_to, canonical_to FROM chain_state").fetchone()
    assert row is not None
    return row


def store(database: Connection, *numbers: int, branch: int = 0, generation: int = 0) -> None:
    ensure_partitions(database, numbers, 100_000)
    insert_blocks(database, numbers)
    for number in numbers:
        database.execute(
            "UPDATE blocks SET hash = %s, generation = %s WHERE number = %s",
            (hash_of(number, branch), generation, number),
        )


def test_rule_5_items_say_hash_and_generation_as_the_headers_have_them(begun: PostgresRecords) -> None:
    _, items = begun.record(state(begun), Append(refs(110, 111)), 105)
    assert [(i.number, i.expected_hash, i.generation, i.reason) for i in items] == [
        (110, hash_of(110), 0, Reason.HEAD),
        (111, hash_of(111), 0, Reason.HEAD),
    ]

    rollback, items = begun.record(state(begun), Raise(111, refs(111, 111, branch=1)), 105)
    assert rollback is not None
    assert [(i.number, i.expected_hash, i.generation, i.reason) for i in items] == [
        (111, hash_of(111, 1), rollback.generation, Reason.REORG)
    ]


def test_rule_5_an_item_above_what_is_final_never_goes_out_without_its_hash(
    begun: PostgresRecords, database: Connection
) -> None:
    seen = state(begun)
    database.execute("DELETE FROM headers WHERE number >= 108")  # as a successor does whom we do not know of yet

    items = begun.settle(seen, None).items

    assert [(item.number, item.expected_hash) for item in items] == [(n, hash_of(n)) for n in range(100, 108)]


def test_the_window_is_what_is_not_final(begun: PostgresRecords) -> None:
    recorded = state(begun).recorded

    assert (recorded.next, recorded.finalized_to) == (110, 105)
    assert list(recorded.refs) == list(refs(105, 109))


def test_rule_6_a_generation_is_raised_in_one_transaction(begun: PostgresRecords, database: Connection) -> None:
    store(database, *range(100, 110))
    begun.settle(state(begun), None)
    assert chain_state(database) == (0, 105, 109)
    backfill = jobs.create_job(database, jobs.NewJob(CHAIN, jobs.Ranges.of([(64, 200)])))
    database.execute(
        "INSERT INTO job_coverage VALUES (%s, 1, %s, 7::bit(64), 0::bit(64), 0::bit(64), now())", (backfill, CHAIN)
    )

    rollback, _ = begun.record(state(begun), Raise(107, refs(107, 108, branch=1)), 105)

    assert rollback is not None
    assert chain_state(database) == (rollback.generation, 105, 106)
    assert database.execute("SELECT from_number, generation FROM rollbacks").fetchall() == [(107, rollback.generation)]
    headers = database.execute("SELECT hash, generation FROM headers WHERE number > 105 ORDER BY number").fetchall()
    assert headers == [(hash_of(106), 0), *[(hash_of(n, 1), rollback.generation) for n in (107, 108)]]
    assert state(begun).recorded.next == 109
    published = database.execute("SELECT published_at FROM job_coverage WHERE job_id = %s", (backfill,)).fetchone()
    assert published == (None,)  # what is on its way is of an older generation


def test_rule_6_a_generation_is_above_all_that_are_known_and_the_clock(records: Make, database: Connection) -> None:
    following.start(database, CHAIN, 100, None)
    one = records(wall=lambda: 5.0)
    one.record(state(one), Append(refs(100, 103)), 0)

    first, _ = one.record(state(one), Raise(102, ()), 0)
    second, _ = one.record(state(one), Raise(101, ()), 0)
    database.execute("INSERT INTO rollbacks VALUES (%s, 500, 90000)", (CHAIN,))
    third, _ = one.record(state(one), Raise(101, ()), 0)

    assert [each and each.generation for each in (first, second, third)] == [5000, 5001, 90001]


def test_rule_6_a_change_that_fails_in_the_middle_changes_nothing(begun: PostgresRecords, database: Connection) -> None:
    everything = "SELECT (SELECT array_agg(h ORDER BY number) FROM headers h), (SELECT count(*) FROM rollbacks)"
    before = chain_state(database), database.execute(everything).fetchone(), state(begun).recorded
    torn = BlockRef(107, None, hash_of(106))  # type: ignore[arg-type]  # what no node may say, nor the table hold

    with pytest.raises(psycopg.errors.NotNullViolation):
        begun.record(state(begun), Raise(107, (torn,)), 105)

    assert (chain_state(database), database.execute(everything).fetchone(), state(begun).recorded) == before


def test_rule_6_nothing_is_recorded_without_the_lease(
    begun: PostgresRecords, records: Make, database: Connection
) -> None:
    seen = state(begun)
    database.execute("UPDATE processing_jobs SET lease_until = now() - interval '1 s'")
    other = records("two")
    state(other)

    for change in (Append(refs(110, 110)), Raise(107, ()), Skip(110, 500), Stop(105)):
        with pytest.raises(LeaseLost):
            begun.record(seen, change, 105)

    assert begun.read() is None
    assert database.execute("SELECT count(*) FROM rollbacks").fetchone() == (0,)
    assert database.execute("SELECT max(number) FROM headers").fetchone() == (109,)


def test_the_lease_is_renewed_although_the_clock_was_set_back(records: Make, database: Connection) -> None:
    following.start(database, CHAIN, 100, None)
    now, wall = [1000.0], [1_700_000_000.0]
    one = records(lease_seconds=10.0, now=lambda: now[0], wall=lambda: wall[0])
    state(one)
    database.execute("UPDATE processing_jobs SET lease_until = now() + interval '1 s'")

    now[0] += 3.0
    wall[0] -= 3600.0
    state(one)

    assert database.execute("SELECT lease_until > now() + interval '5 s' FROM processing_jobs").fetchone() == (True,)


def test_rule_6_a_clock_set_back_gives_no_generation_out_twice(records: Make, database: Connection) -> None:
    following.start(database, CHAIN, 100, None)
    wall = [7200.0]
    one = records(wall=lambda: wall[0])
    one.record(state(one), Append(refs(100, 103)), 0)

    first, _ = one.record(state(one), Raise(102, ()), 0)
    wall[0] -= 3600.0
    second, _ = one.record(state(one), Raise(102, ()), 0)

    assert [each and each.generation for each in (first, second)] == [7_200_000, 7_200_001]


def test_rule_6_a_rollback_is_owed_to_every_partition_that_has_not_applied_it(
    begun: PostgresRecords, database: Connection
) -> None:
    rollback, _ = begun.record(state(begun), Raise(107, ()), 105)
    assert rollback is not None
    database.execute(
        "INSERT INTO consumer_progress (consumer_group, topic, partition, topic_id, epoch, next_offset,"
        " applied_generation) VALUES ('persister', 'blocks.decoded', 1, 'id', 1, 0, %s),"
        " ('persister', 'blocks.decoded', 2, 'id', 1, 0, 5)",
        (rollback.generation,),
    )

    assert begun.settle(state(begun), None).rollbacks == [(Rollback(CHAIN, 107, rollback.generation), [0, 2])]


def test_rule_8_canonical_rises_over_rows_that_are_the_headers_and_stops_at_the_first_that_is_not(
    begun: PostgresRecords, database: Connection
) -> None:
    store(database, 100, 101, 102, 104)
    begun.settle(state(begun), None)
    assert chain_state(database)[2] == 102  # 103 is missing

    store(database, 103, branch=1)
    begun.settle(state(begun), None)
    assert chain_state(database)[2] == 102  # … and is another block

    database.execute("UPDATE blocks SET hash = %s WHERE number = 103", (hash_of(103),))
    begun.settle(state(begun), None)
    assert chain_state(database)[2] == 104


def test_rule_8_a_row_without_a_header_is_trusted_only_where_it_is_final(
    begun: PostgresRecords, database: Connection
) -> None:
    store(database, *range(100, 112))

    begun.settle(state(begun), None)

    assert chain_state(database)[1:] == (105, 109)  # 110 has no header yet


def test_rule_8_what_a_rollback_is_about_to_take_is_not_trusted(begun: PostgresRecords, database: Connection) -> None:
    store(database, *range(100, 110))

    begun.record(state(begun), Raise(107, refs(107, 109)), 105)  # the same hashes, of a new generation
    begun.settle(state(begun), None)

    assert chain_state(database)[2] == 106


def test_rule_8_stored_rows_of_another_hash_are_a_mismatch_unless_a_rollback_takes_them(
    begun: PostgresRecords, database: Connection
) -> None:
    store(database, *range(100, 110))
    store_as_another = "UPDATE blocks SET hash = %s WHERE number = 107"
    database.execute(store_as_another, (hash_of(107, 1),))

    mismatch = begun.settle(state(begun), None).mismatch
    assert mismatch == Raise(107, refs(107, 109))

    begun.record(state(begun), mismatch, 105)
    assert begun.settle(state(begun), None).mismatch is None


def test_rule_8_a_rollback_that_a_restored_database_forgot_is_a_mismatch(
    begun: PostgresRecords, database: Connection
) -> None:
    database.execute("INSERT INTO rollbacks VALUES (%s, 108, 77)", (CHAIN,))

    mismatch = begun.settle(state(begun), None).mismatch

    assert mismatch == Raise(108, refs(108, 109))
    rollback, _ = begun.record(state(begun), mismatch, 105)
    assert rollback is not None
    assert rollback.generation > 77


def test_rule_8_a_forgotten_rollback_is_a_mismatch_although_a_fork_above_it_came_first(
    begun: PostgresRecords, database: Connection
) -> None:
    database.execute("INSERT INTO rollbacks VALUES (%s, 107, 77)", (CHAIN,))
    begun.record(state(begun), Raise(109, refs(109, 109, branch=1)), 105)  # the chain's generation is the highest again

    mismatch = begun.settle(state(begun), None).mismatch

    assert mismatch == Raise(107, (*refs(107, 108), ref(109, 1)))
    begun.record(state(begun), mismatch, 105)
    assert begun.settle(state(begun), None).mismatch is None


def test_rule_8_a_forgotten_rollback_above_the_tip_leaves_no_gap(records: Make, database: Connection) -> None:
    following.start(database, CHAIN, 100, None)
    one = records()
    one.record(state(one), Skip(100, 400), 400)  # restored to here …
    database.execute("INSERT INTO rollbacks VALUES (%s, 500, 77)", (CHAIN,))  # … and told what happened later

    mismatch = one.settle(state(one), None).mismatch

    assert mismatch == Raise(400, ())
    rollback, _ = one.record(state(one), mismatch, 399)
    assert rollback is not None
    assert rollback.generation > 77
    assert (state(one).recorded.next, one.settle(state(one), None).mismatch) == (400, None)


def test_what_is_final_grows_with_the_node_and_never_beyond_the_tip(
    begun: PostgresRecords, database: Connection
) -> None:
    for final, recorded in ((107, 107), (106, 107), (500, 109)):
        begun.settle(state(begun), final)
        assert chain_state(database)[1] == recorded


def test_headers_are_kept_until_they_are_final_and_their_rows_trusted(
    begun: PostgresRecords, database: Connection
) -> None:
    lowest = "SELECT min(number) FROM headers"
    begun.settle(state(begun), 108)
    assert database.execute(lowest).fetchone() == (100,)  # nothing is stored

    store(database, *range(100, 105))
    begun.settle(state(begun), 108)
    begun.settle(state(begun), 108)
    assert database.execute(lowest).fetchone() == (104,)


def test_what_was_not_published_is_handed_out_until_it_is(begun: PostgresRecords) -> None:
    items = begun.settle(state(begun), None).items
    assert [(item.number, item.expected_hash) for item in items] == [(n, hash_of(n)) for n in range(100, 110)]

    begun.published(items)
    assert begun.settle(state(begun), None).items == []


def test_rule_6_what_counts_as_stored_until_a_rollback_arrives_is_handed_out_too(
    begun: PostgresRecords, database: Connection
) -> None:
    begun.published(begun.settle(state(begun), None).items)
    store(database, *range(100, 110))
    database.execute("UPDATE job_coverage SET stored = wanted")
    begun.record(state(begun), Raise(107, refs(107, 109, branch=1)), 105)  # whoever recorded it died before it told

    items = begun.settle(state(begun), None).items

    assert [(item.number, item.expected_hash) for item in items] == [(n, hash_of(n, 1)) for n in range(107, 110)]
    begun.published(items)
    assert begun.settle(state(begun), None).items == []


def test_what_got_lost_is_handed_out_again_but_not_where_somebody_lags(records: Make, database: Connection) -> None:
    following.start(database, CHAIN, 60, None)
    behind: set[int] = set()
    known = [True]
    now = [0.0]
    one = records(republish_seconds=5.0, lagging=lambda: behind if known[0] else None, now=lambda: now[0])
    _, items = one.record(state(one), Append(refs(60, 66)), 0)
    one.published(items)
    database.execute("UPDATE job_coverage SET published_at = now() - interval '1 minute'")
    lost = one.settle(state(one), None).items
    assert [item.number for item in lost] == list(range(60, 67))

    known[0] = False
    now[0] += 10
    assert one.settle(state(one), None).items == []

    known[0] = True
    behind.update(range(PARTITIONS))
    now[0] += 10
    assert one.settle(state(one), None).items == []


def test_rule_11_what_is_on_its_way_is_left_alone_for_ten_minutes(records: Make, database: Connection) -> None:
    following.start(database, CHAIN, 60, None)
    now = [0.0]
    one = records(now=lambda: now[0])
    _, items = one.record(state(one), Append(refs(60, 66)), 0)
    one.published(items)

    database.execute("UPDATE job_coverage SET published_at = now() - interval '9 minutes'")
    assert one.settle(state(one), None).items == []
    now[0] += 10
    database.execute("UPDATE job_coverage SET published_at = now() - interval '11 minutes'")
    assert [item.number for item in one.settle(state(one), None).items] == list(range(60, 67))


def test_what_is_skipped_is_a_job_of_its_own_and_the_two_meet(begun: PostgresRecords, database: Connection) -> None:
    begun.record(state(begun), Skip(110, 5000), 5000)

    backfill = next(job for job in jobs.all_jobs(database, CHAIN) if job.reason == "backfill")
    assert (backfill.first_block, backfill.last_block, backfill.total) == (110, 4999, 4890)
    recorded = state(begun).recorded
    assert (recorded.next, recorded.finalized_to, list(recorded.refs)) == (5000, 4999, [])

    begun.record(state(begun), Append(refs(5000, 5001)), 5000)
    follower = next(job for job in jobs.all_jobs(database, CHAIN) if job.reason == "head")
    assert follower.total == 12
    store(database, *range(100, 112), 5000)
    begun.settle(state(begun), None)
    assert chain_state(database)[2] == 111  # the rest of the job is not there yet


def test_a_fork_beyond_the_window_pauses_until_somebody_decides(begun: PostgresRecords, database: Connection) -> None:
    with pytest.raises(UserError, match="not paused"):
        following.go_on(database, CHAIN, None)

    begun.record(state(begun), Stop(105), 105)
    now = following.following(database, CHAIN)
    assert now is not None
    assert "105" in (now.paused or "")
    assert "--rollback-to" in (state(begun).paused or "")

    store(database, *range(100, 110))
    following.go_on(database, CHAIN, 102)
    decided = state(begun)
    assert (decided.paused, decided.rollback_to) == (None, 102)

    begun.record(decided, Raise(103, ()), 105)
    after = state(begun)
    assert (after.recorded.next, after.recorded.finalized_to, after.rollback_to) == (103, 102, None)
    assert [(ref.number, ref.hash) for ref in after.recorded.refs] == [(102, hash_of(102))]  # the next hangs on it


def test_a_chain_has_one_follower(begun: PostgresRecords, records: Make, database: Connection) -> None:
    assert state(begun)
    assert records("two").read() is None
    with pytest.raises(UserError, match="followed"):
        following.start(database, CHAIN, 5, None)

    begun.release()
    assert records("two").read() is not None


def test_a_producer_leaves_the_job_to_the_follower(begun: PostgresRecords, database: Connection) -> None:
    begun.release()

    assert jobs.take_leases(database, CHAIN, "producer", 10.0, 10) == []


def test_a_cancelled_job_ends_when_its_blocks_are_resolved(begun: PostgresRecords, database: Connection) -> None:
    job = state(begun).job
    jobs.wish(database, CHAIN, job, "cancel")
    begun.settle(state(begun), None)
    assert jobs.job_status(database, CHAIN, job).state == "cancelling"

    database.execute("UPDATE job_coverage SET stored = wanted")
    begun.settle(state(begun), None)

    assert jobs.job_status(database, CHAIN, job).state == "cancelled"
    assert begun.read() is None
    assert following.continues_at(database, CHAIN) == 110


def test_rule_13_a_cancelled_follower_ends_although_a_block_never_came(
    begun: PostgresRecords, database: Connection
) -> None:
    job = state(begun).job
    begun.published(begun.settle(state(begun), None).items)
    jobs.wish(database, CHAIN, job, "cancel")
    begun.settle(state(begun), None)
    assert jobs.job_status(database, CHAIN, job).state == "cancelling"

    database.execute("UPDATE job_coverage SET published_at = published_at - interval '11 min'")
    begun.settle(state(begun), None)

    assert jobs.job_status(database, CHAIN, job).state == "cancelled"
