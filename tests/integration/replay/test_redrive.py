"""What may succeed now is replayed by itself, when that is switched on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indexer.storage import engine, replays
from indexer.topics import load_topics
from services.producer.redrive import ACTOR, Redrive
from tests.integration.replay.conftest import PARTITIONS, Desk
from tests.support.letters import put_letter, put_letters, states

pytestmark = pytest.mark.integration


def redrive(desk: Desk, seconds: float = 60.0) -> Redrive:
    settings = replace(desk.settings, redrive_seconds=seconds)
    return Redrive(settings, load_topics(settings.topic_prefix), PARTITIONS)


def grow_old(desk: Desk) -> None:
    desk.connection.execute("UPDATE dead_letters SET indexed_at = now() - interval '61 s'")


def test_old_letters_that_may_succeed_now_are_replayed_and_no_others(desk: Desk) -> None:
    put_letters(desk.connection, desk.settings, [1, 2], code="RPC_TIMEOUT")
    put_letter(desk.connection, desk.settings, 3)  # a wrong root: somebody has to mend it
    put_letter(desk.connection, desk.settings, 4, code="RPC_TIMEOUT", replay_count=3)  # often enough
    grow_old(desk)
    put_letter(desk.connection, desk.settings, 5, code="RPC_TIMEOUT")  # too young

    run = redrive(desk).look()

    assert run is not None
    assert (run.total, run.state) == (2, "done")
    assert sorted(desk.replayed()) == [1, 2]
    assert states(desk.connection) == {"replayed": 2, "open": 3}
    assert redrive(desk).look() is None


def test_a_run_that_a_killed_producer_left_is_gone_on_with(desk: Desk) -> None:
    from indexer.replay.selection import Selection

    put_letters(desk.connection, desk.settings, range(5))
    left = replays.freeze(desk.connection, desk.settings.chain_id, Selection(), actor=ACTOR)
    assert left is not None

    run = redrive(desk).look()

    assert run is not None
    assert (run.id, run.state) == (left.id, "done")
    assert sorted(desk.replayed()) == [0, 1, 2, 3, 4]


def test_one_producer_does_it_at_a_time(desk: Desk) -> None:
    put_letter(desk.connection, desk.settings, 1, code="RPC_TIMEOUT")
    grow_old(desk)
    with engine.connect(desk.settings, "other", autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (0x1D8E_0005, str(desk.settings.chain_id)))

        assert redrive(desk).look() is None

    assert redrive(desk).look() is not None
