"""Partitions are there before rows come, whoever makes them; indexes come when nobody fills a leaf."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from indexer.errors import TransientError
from indexer.settings import Settings
from indexer.storage import engine, indexes
from indexer.storage.indexes import build_due_indexes, missing_indexes
from indexer.storage.leaves import BLOCK_TABLES
from indexer.storage.partitions import ensure_partitions, existing, leaf_name
from tests.support.kafka_topics import until

pytestmark = pytest.mark.integration
Connection = engine.Connection


def put_log(database: Connection, number: int) -> None:
    database.execute("INSERT INTO logs VALUES (1, %s, 0, 0, '\\x', NULL, NULL, NULL, NULL, '\\x')", (number,))


def test_partitions_are_made_once_for_every_table(database: Connection) -> None:
    made = ensure_partitions(database, [5, 7, 1500], 1000)

    assert len(made) == 2 * len(BLOCK_TABLES)
    assert ensure_partitions(database, [999, 1000], 1000) == []
    assert existing(database)["logs"] == {0: 1000, 1000: 2000}


def test_the_width_is_fixed_once_there_are_partitions(database: Connection) -> None:
    ensure_partitions(database, [5], 1000)

    ensure_partitions(database, [2500], 777)

    assert existing(database)["blocks"] == {0: 1000, 2000: 3000}


def test_many_at_once_do_not_disturb_each_other(migrated: Settings) -> None:
    def make(_: int) -> int:
        with engine.connect(migrated, "test", autocommit=True) as connection:
            return len(ensure_partitions(connection, range(0, 3000, 500), 1000))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(make, range(4))) == 3 * len(BLOCK_TABLES)


def test_what_a_crash_left_is_attached_next_time(database: Connection) -> None:
    database.execute("CREATE TABLE logs_p0 (LIKE logs INCLUDING ALL)")

    ensure_partitions(database, [1], 1000)

    put_log(database, 1)
    assert database.execute("SELECT count(*) FROM logs_p0").fetchone() == (1,)


def test_an_open_writer_does_not_stop_the_next_partition(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    with engine.connect(migrated, "writer") as writer:
        put_log(writer, 1)

        assert ensure_partitions(database, [1001], 1000)
        put_log(writer, 1001)


def test_a_lock_that_is_not_to_be_had_is_tried_again_later(migrated: Settings, database: Connection) -> None:
    with engine.connect(migrated, "maintenance") as other:
        other.execute("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TransientError):
            ensure_partitions(database, [1], 1000)

    assert ensure_partitions(database, [1], 1000)
    assert len(existing(database)["logs"]) == 1


def add_job(database: Connection, state: str, blocks: str, reason: str = "backfill") -> None:
    database.execute(
        "INSERT INTO processing_jobs"
        " (chain_id, state, priority, strategy, reason, blocks, total, batch_size, window_blocks)"
        " VALUES (1, %s, 'normal', 'earliest', %s, %s::int8multirange, 1, 100, 2000)",
        (state, reason, blocks),
    )


def leaves_with_indexes(database: Connection) -> set[str]:
    rows = database.execute("SELECT tablename FROM pg_indexes WHERE indexname LIKE '%\\_idx'").fetchall()
    return {name for (name,) in rows}


@pytest.mark.parametrize("state", ["queued", "running", "paused", "cancelling"])
def test_a_leaf_that_a_live_job_covers_waits_for_its_indexes(database: Connection, state: str) -> None:
    ensure_partitions(database, [1, 1001], 1000)
    put_log(database, 1)
    put_log(database, 1001)
    add_job(database, state, "{[500,600)}")

    built = build_due_indexes(database)

    assert built == ["logs_p1000_address_topic0_block_number_idx"]
    assert [index.leaf for index in missing_indexes(database, due_only=False)] == ["logs_p0"]
    database.execute("UPDATE processing_jobs SET state = 'done'")
    assert build_due_indexes(database) == ["logs_p0_address_topic0_block_number_idx"]
    assert build_due_indexes(database) == []


def test_where_the_head_is_indexes_are_built_without_stopping_it(migrated: Settings, database: Connection) -> None:
    add_job(database, "running", "{[1,)}", reason="head")
    assert_a_leaf_with_a_writer_is_built(migrated, database)
    assert [index.written for index in missing_indexes(database, due_only=False)] == []
    ensure_partitions(database, [1001], 1000)
    put_log(database, 1001)
    assert [(index.leaf, index.written) for index in missing_indexes(database)] == [("logs_p1000", True)]


def test_leaves_without_data_get_no_indexes(database: Connection) -> None:
    ensure_partitions(database, [1], 1000)

    assert build_due_indexes(database) == []


def test_every_declared_index_is_built(database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    put_log(database, 1)
    database.execute(
        "INSERT INTO token_transfers VALUES (1, 1, 0, 0, '\\x', '\\x', '\\x', 'erc20', 'transfer', 0, 1);"
        "INSERT INTO decoded_events VALUES (1, 1, 0, 'm', 'e', '{}')"
    )

    build_due_indexes(database)

    assert leaves_with_indexes(database) == {leaf_name(t, 0) for t in ("logs", "token_transfers", "decoded_events")}


def test_a_half_built_index_is_dropped_and_built_anew(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    put_log(database, 1)
    name = "logs_p0_address_topic0_block_number_idx"
    with engine.connect(migrated, "reader") as reader, engine.connect(migrated, "test", autocommit=True) as builder:
        put_log(reader, 2)  # an open transaction that the builder waits for
        builder.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            builder.execute(f"CREATE INDEX CONCURRENTLY {name} ON logs_p0 (address)")  # type: ignore[call-overload]
        reader.rollback()
    assert [index.name for index in missing_indexes(database)] == [name]

    assert build_due_indexes(database) == [name]
    assert missing_indexes(database) == []


def test_one_builder_at_a_time(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    put_log(database, 1)
    with engine.connect(migrated, "other", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x1D8E_0003,))

        assert build_due_indexes(database) == []

    assert build_due_indexes(database) != []


def test_who_waits_for_the_other_builder_builds_what_that_one_left(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    put_log(database, 1)
    with ThreadPoolExecutor(1) as pool, engine.connect(migrated, "other", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (0x1D8E_0003,))
        waiting = pool.submit(build_due_indexes, database, wait=True)
        assert not waiting.done()
        other.execute("SELECT pg_advisory_unlock(%s)", (0x1D8E_0003,))

        assert waiting.result(30) == ["logs_p0_address_topic0_block_number_idx"]


def test_two_connections_share_the_leaves(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1, 1001, 2001, 3001], 1000)
    for number in (1, 1001, 2001, 3001):
        put_log(database, number)

    with engine.connect(migrated, "second", autocommit=True) as second:
        built = build_due_indexes(database, second)

    assert len(built) == len(set(built)) == 4
    assert missing_indexes(database) == []


def test_a_small_leaf_does_not_wait_for_old_snapshots(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    put_log(database, 1)
    with engine.connect(migrated, "reader") as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM blocks")  # CONCURRENTLY would wait for its end

        assert build_due_indexes(database) == ["logs_p0_address_topic0_block_number_idx"]


def test_writers_of_a_large_leaf_are_not_kept_out(
    migrated: Settings, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "_SMALL_LEAF_BYTES", 0)
    assert_a_leaf_with_a_writer_is_built(migrated, database)


def test_a_small_leaf_that_somebody_writes_to_is_built_beside_them(migrated: Settings, database: Connection) -> None:
    assert_a_leaf_with_a_writer_is_built(migrated, database)


def assert_a_leaf_with_a_writer_is_built(migrated: Settings, database: Connection) -> None:
    ensure_partitions(database, [1], 1000)
    put_log(database, 1)
    with (
        ThreadPoolExecutor(1) as pool,
        engine.connect(migrated, "writer") as writer,
        engine.connect(migrated, "other", autocommit=True) as other,
    ):
        put_log(writer, 2)
        building = pool.submit(build_due_indexes, database)
        until(lambda: missing_indexes(other) and invalid_indexes(other), "an index built CONCURRENTLY")
        put_log(other, 3)
        writer.commit()

        assert building.result(30) == ["logs_p0_address_topic0_block_number_idx"]


def invalid_indexes(database: Connection) -> list[object]:
    return database.execute("SELECT FROM pg_index WHERE NOT indisvalid").fetchall()
