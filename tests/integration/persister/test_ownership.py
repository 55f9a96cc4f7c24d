"""PROTOCOL 2 to 4: one owner at a time, whatever froze, died, or was restored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from indexer.errors import FatalError, OutageError, PoisonError, TransientError
from indexer.pipeline import OwnershipLost
from indexer.settings import Settings
from indexer.storage.engine import Connection
from indexer.storage.leaves import BLOCK_TABLES
from indexer.topics import partition_of
from services.persister.progress import end_blockers
from tests.integration.persister.harness import GROUP, PARTITIONS, TOPIC, Persister, heights, rows, source, state
from tests.support.blocks import BlockMaker

pytestmark = pytest.mark.integration
Make = Callable[..., Persister]
make = BlockMaker()


def offsets(look: psycopg.Connection) -> dict[int, int]:
    return dict(rows(look, "SELECT partition, next_offset FROM consumer_progress ORDER BY 1"))  # type: ignore[arg-type]


def backends(look: psycopg.Connection) -> set[Any]:
    return {pid for (pid,) in rows(look, "SELECT backend_pid FROM consumer_progress")}


def freeze_inside_copy(settings: Settings, name: str, partition: int = 0, *, recorded: bool = False) -> Connection:
    """Return the connection of a persister that stopped in the middle of a COPY, its locks held."""
    frozen = psycopg.connect(settings.database_url, application_name=name)
    if recorded:
        frozen.execute(
            "UPDATE consumer_progress SET backend_pid = a.pid, backend_start = a.backend_start FROM pg_stat_activity a"
            " WHERE a.pid = pg_backend_pid()"
        )
        frozen.commit()
    frozen.execute("UPDATE consumer_progress SET next_offset = 99 WHERE partition = %s", (partition,))
    frozen.pgconn.send_query(b"COPY blocks FROM STDIN (FORMAT BINARY)")
    frozen.pgconn.get_result()
    return frozen


def test_rule_2_a_stale_owner_is_refused(persister: Make, look: psycopg.Connection) -> None:
    zombie = persister().own()
    zombie.write(make(1))
    successor = persister().own()

    with pytest.raises((OwnershipLost, TransientError, OutageError)):
        zombie.write(make(2, fork=1))
    with pytest.raises(OwnershipLost):
        zombie.write(make(2, fork=1))

    successor.write(make(2))
    assert rows(look, "SELECT hash FROM blocks WHERE number = 2") == [(make(2).header.hash,)]
    assert heights(look) == [1, 2]


def test_rule_2_the_compare_and_set_is_what_refuses(persister: Make, look: psycopg.Connection) -> None:
    zombie = persister().own()
    zombie.write(make(1))
    look.execute("UPDATE consumer_progress SET epoch = epoch + 1")  # nobody ended its back-end

    with pytest.raises(OwnershipLost):
        zombie.write(make(2))

    assert heights(look) == [1]
    assert zombie.sink.refused_writes == 1


def test_rule_2_an_unknown_partition_is_not_written(persister: Make, look: psycopg.Connection) -> None:
    with pytest.raises(OwnershipLost):
        persister().own(0).write(*[make(n) for n in range(128)])

    assert heights(look) == []


def test_rule_3_epochs_grow_by_the_clock_and_never_come_twice(persister: Make, look: psycopg.Connection) -> None:
    def epochs() -> set[int]:
        return {epoch for (epoch,) in rows(look, "SELECT epoch FROM consumer_progress")}

    persister(now=lambda: 1000.0).own()
    assert epochs() == {1_000_000}
    persister(now=lambda: 999.0).own()
    assert epochs() == {1_000_001}
    persister(now=lambda: 2000.0).own()
    assert epochs() == {2_000_000}


def test_rule_3_a_frozen_predecessor_inside_copy_is_ended(
    persister: Make, look: psycopg.Connection, settings: Settings
) -> None:
    persister().own().write(make(1))
    frozen = freeze_inside_copy(settings, "whatever", recorded=True)

    successor = persister().own()

    successor.write(make(2))
    assert heights(look) == [1, 2]
    assert rows(look, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", frozen.info.backend_pid) == [(0,)]


def test_rule_3_what_blocks_us_under_our_own_name_is_ended(
    persister: Make, look: psycopg.Connection, settings: Settings
) -> None:
    persister().own()
    frozen = freeze_inside_copy(settings, f"{settings.topic_prefix}indexer-persister-7")

    Persister(replace(settings, lock_timeout_seconds=10.0)).own().write(make(1))

    assert heights(look) == [1]
    assert rows(look, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", frozen.info.backend_pid) == [(0,)]


def test_rule_3_what_blocks_us_under_a_foreign_name_is_left_alone(
    persister: Make, look: psycopg.Connection, settings: Settings
) -> None:
    persister().own()
    stranger = freeze_inside_copy(settings, "pgadmin")
    patient = replace(settings, lock_timeout_seconds=2.0)  # the look for blockers comes before the time-out

    with pytest.raises(TransientError):
        Persister(patient).own()

    assert rows(look, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", stranger.info.backend_pid) == [(1,)]


def test_rule_3_nobody_but_the_chosen_is_ended(persister: Make, look: psycopg.Connection, settings: Settings) -> None:
    with psycopg.connect(settings.database_url) as waiter:
        pid = waiter.info.backend_pid

        end_blockers(look, pid, f"{settings.topic_prefix}indexer-persister-")

        assert waiter.execute("SELECT 1").fetchone() == (1,)
        assert look.execute("SELECT 1").fetchone() == (1,)


def test_rule_3_another_process_with_the_recorded_pid_is_left_alone(
    persister: Make, look: psycopg.Connection, settings: Settings
) -> None:
    persister().own()
    with psycopg.connect(settings.database_url) as innocent:
        look.execute("UPDATE consumer_progress SET backend_pid = %s", (innocent.info.backend_pid,))

        persister().own()

        assert innocent.execute("SELECT 1").fetchone() == (1,)


def test_rule_3_the_backend_is_recorded_again_after_a_reconnect(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    [before] = backends(look)
    rows(look, "SELECT pg_terminate_backend(%s, 2000)", before)

    batch = one.handle(make(1))
    with suppress(TransientError):
        one.write_again(batch)
    one.write_again(batch)

    [after] = backends(look)
    assert after not in (before, None)
    assert heights(look) == [1]


def test_rule_3_an_orderly_hand_over_clears_the_backend(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(1))

    one.sink.revoked({source(0)})

    assert rows(look, "SELECT backend_pid IS NULL FROM consumer_progress ORDER BY partition") == [(True,), (False,)]
    one.sink.revoked({source(1)})
    assert backends(look) == {None}


def test_a_hand_over_without_a_database_does_not_hold_the_rebalance_up(
    persister: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = persister().own()

    def away() -> Connection:
        raise OutageError("away")

    one.close()
    monkeypatch.setattr(one.connections, "open", away)
    one.sink.revoked({source(0), source(1)})

    assert one.progress.owned == {}


def test_a_successor_goes_on_where_the_predecessor_stopped(persister: Make) -> None:
    one = persister().own()
    one.write(make(1), make(2))
    one.sink.revoked({source(0), source(1)})

    two = persister()
    starts = two.sink.assigned({source(0), source(1)})

    assert starts == {source(0): 2, source(1): 0} or starts == {source(0): 0, source(1): 2}


def spoiled_commit(*, came_through: bool) -> Callable[[Connection], None]:
    """Make a connection that breaks in its second commit (the first records the back-end)."""

    def spoil(connection: Connection) -> None:
        real = connection.commit
        calls = []

        def commit() -> None:
            calls.append(1)
            if len(calls) < 4:
                return real()
            if came_through:
                real()
            connection.close()
            raise psycopg.OperationalError("connection lost")

        connection.commit = commit  # type: ignore[method-assign]

    return spoil


@pytest.mark.parametrize("came_through", [True, False])
def test_rule_4_a_commit_whose_answer_was_lost_is_looked_up(
    persister: Make, look: psycopg.Connection, came_through: bool
) -> None:
    one = persister()
    one.connections.spoil = spoiled_commit(came_through=came_through)
    one.own()
    batch = one.handle(make(1), make(2))

    if came_through:
        one.write_again(batch)
    else:
        with pytest.raises(TransientError):
            one.write_again(batch)
        assert heights(look) == []
        one.write_again(batch)

    one.write(make(3))
    assert heights(look) == [1, 2, 3]
    assert rows(look, "SELECT count(*) FROM block_processing WHERE attempts > 1") == [(0,)]
    state(look)


def test_rule_4_a_commit_looked_up_after_an_outage_is_not_done_twice(
    persister: Make, look: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = persister()
    one.connections.spoil = spoiled_commit(came_through=True)
    one.own()
    batch = one.handle(make(1), make(2))
    real = one.connections.open

    def away() -> Connection:
        raise OutageError("away")

    monkeypatch.setattr(one.connections, "open", away)
    with pytest.raises(OutageError):
        one.write_again(batch)
    monkeypatch.setattr(one.connections, "open", real)

    one.write_again(batch)

    assert heights(look) == [1, 2]
    assert rows(look, "SELECT DISTINCT attempts FROM block_processing") == [(1,)]
    one.write(make(3))


def test_rule_4_a_restored_database_makes_us_leave(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(1), make(2))
    one.write(make(3))
    look.execute("UPDATE consumer_progress SET next_offset = 1 WHERE next_offset > 0")

    with pytest.raises(OwnershipLost):
        one.write(make(4))

    assert heights(look) == [1, 2, 3]


def test_rule_4_a_database_that_is_restored_while_nothing_comes_makes_us_leave(
    persister: Make, look: psycopg.Connection
) -> None:
    one = persister().own()
    one.write(make(1), make(2))
    one.sink.write([], {})
    look.execute("UPDATE consumer_progress SET next_offset = 0 WHERE next_offset > 0")

    with pytest.raises(OwnershipLost):
        one.sink.write([], {})


def test_who_lost_a_partition_does_not_look_at_it_any_more(persister: Make) -> None:
    one, two = persister().own(0, 1), persister()
    one.sink.lost({source(0), source(1)})
    two.own(0)
    with pytest.raises(OutageError):  # its back-end was ended
        one.own(1)
    one.own(1)

    one.sink.write([], {})  # or it would join the group anew, and again after every silence
    one.write(make(next(n for n in range(0, 1024, 64) if partition_of(n, PARTITIONS) == 1)))
    with pytest.raises(OwnershipLost):
        one.write(make(next(n for n in range(0, 1024, 64) if partition_of(n, PARTITIONS) == 0)))


def test_letters_of_a_write_that_was_looked_up_after_an_outage_are_told_of(
    persister: Make, look: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = persister()
    one.connections.spoil = spoiled_commit(came_through=True)
    one.own()
    bad = make(2)
    bad.logs.log_index = [0, 0, 1, 2]  # twice the same key
    bad.undecoded_logs = []
    batch = one.handle(make(1), bad)
    real = one.connections.open

    def away() -> Connection:
        raise OutageError("away")

    monkeypatch.setattr(one.connections, "open", away)
    with pytest.raises(OutageError):
        one.write_again(batch)
    monkeypatch.setattr(one.connections, "open", real)

    stored = one.write_again(batch)

    assert heights(look) == [1]
    assert [isinstance(each.result.value, PoisonError) for each in stored] == [False, True]
    assert one.committed == {each.source: each.offset + 1 for each in batch}


def test_a_restored_database_without_our_partition_costs_no_letters(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    one.write(make(1), make(1001))
    batch = one.handle(make(1002))
    rows(look, "SELECT pg_terminate_backend(backend_pid, 2000) FROM consumer_progress LIMIT 1")
    for table in BLOCK_TABLES:
        look.execute(f"DROP TABLE {table}_p1000")  # type: ignore[call-overload]

    with suppress(TransientError):
        one.write_again(batch)
    one.write_again(batch)

    assert heights(look) == [1, 1002]
    assert rows(look, "SELECT * FROM outbox") == []


def test_rule_4_offsets_that_retention_took_are_skipped_forward(persister: Make, look: psycopg.Connection) -> None:
    one = persister().own()
    late = one.handle(*[make(n) for n in range(1, 6)])[-1:]

    one.write_again(late)

    assert heights(look) == [5]
    assert 5 in offsets(look).values()


def test_records_below_the_stored_offset_are_written_too(persister: Make, look: psycopg.Connection) -> None:
    """A log that was cut (an unclean election) gives out offsets anew."""
    one = persister().own()
    one.write(make(1), make(2))
    again = persister()
    again.own()
    again._next.clear()

    again.write(make(3))
    again.write(make(4))

    assert heights(look) == [1, 2, 3, 4]


def test_a_recreated_topic_is_refused_with_a_way_out(persister: Make, look: psycopg.Connection) -> None:
    persister().own().write(make(1))
    before = rows(look, "SELECT epoch, next_offset FROM consumer_progress ORDER BY partition")

    with pytest.raises(FatalError, match="forget-offsets") as refused:
        persister(topic_id="id-2").own()

    assert refused.value.code == "TOPIC_RECREATED"
    assert rows(look, "SELECT epoch, next_offset FROM consumer_progress ORDER BY partition") == before
    look.execute("UPDATE consumer_progress SET topic_id = '', next_offset = 0")
    starts = persister(topic_id="id-2").sink.assigned({source(0), source(1)})
    assert set(starts.values()) == {0}
    assert rows(look, "SELECT DISTINCT topic_id FROM consumer_progress") == [("id-2",)]


def test_a_database_that_is_away_is_an_outage(persister: Make, settings: Settings, postgres: str) -> None:
    one = persister().own()
    with psycopg.connect(postgres, autocommit=True) as server:
        name = settings.database_url.rsplit("/", 1)[1]
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')  # type: ignore[call-overload]
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    with pytest.raises(OutageError):
        one.write(make(1))


def test_each_group_has_its_own_rows(persister: Make, look: psycopg.Connection) -> None:
    persister().own()

    assert {(g, t) for g, t in rows(look, "SELECT consumer_group, topic FROM consumer_progress")} == {(GROUP, TOPIC)}
