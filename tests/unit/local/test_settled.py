"""A run waits for what is under way, and not for what stands still."""

from __future__ import annotations

from dataclasses import replace

from indexer.local.settled import START_SECONDS, STILL_SECONDS, STOPPED_SECONDS, Settled, Standstill
from tests.unit.local.test_screen import JOB


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nothing_under_way_is_the_end() -> None:
    assert Settled(Clock())(0)


def test_blocks_that_become_fewer_are_waited_for() -> None:
    clock = Clock()
    settled = Settled(clock)
    for left in (300, 200, 100):
        assert not settled(left)
        clock.now += STILL_SECONDS - 1
        assert not settled(left)

    assert settled(0)


def test_blocks_that_stand_still_are_waited_for_for_a_while() -> None:
    clock = Clock()
    settled = Settled(clock)
    assert not settled(100)
    clock.now = STILL_SECONDS

    assert settled(100)


def started() -> tuple[Clock, Standstill]:
    """A standstill whose services have had their time to start."""
    clock = Clock()
    standstill = Standstill(clock)
    clock.now = START_SECONDS
    return clock, standstill


def test_where_a_service_is_stopped_and_nothing_moves_a_while_is_enough() -> None:
    clock, standstill = started()
    assert not standstill(["decoder"], [JOB])
    clock.now += STOPPED_SECONDS - 0.1
    assert not standstill(["decoder"], [JOB])
    clock.now += 0.1

    assert standstill(["decoder"], [JOB])


def test_what_is_still_stored_or_dies_or_changes_its_state_is_waited_for() -> None:
    clock, standstill = started()
    for job in (JOB, replace(JOB, stored=1), replace(JOB, stored=1, dead=1), replace(JOB, state="cancelling")):
        assert not standstill(["decoder"], [job])
        clock.now += STOPPED_SECONDS - 0.1
        assert not standstill(["decoder"], [job])


def test_a_block_that_dies_instead_of_being_stored_is_a_movement() -> None:
    clock, standstill = started()
    assert not standstill(["persister"], [replace(JOB, stored=1)])
    clock.now += STOPPED_SECONDS

    assert not standstill(["persister"], [replace(JOB, dead=1)])


def test_what_is_published_is_no_movement() -> None:
    clock, standstill = started()
    assert not standstill(["decoder"], [JOB])
    clock.now += STOPPED_SECONDS

    assert standstill(["decoder"], [replace(JOB, published=900)])


def test_while_nothing_is_stopped_there_is_no_standstill() -> None:
    clock, standstill = started()
    assert not standstill([], [JOB])
    clock.now += 100 * STOPPED_SECONDS
    assert not standstill([], [JOB])

    assert not standstill(["decoder"], [JOB]), "it counts from the stop on"


def test_services_get_their_time_to_start() -> None:
    clock = Clock()
    standstill = Standstill(clock)
    for clock.now in (0.0, STOPPED_SECONDS, START_SECONDS - 0.1):
        assert not standstill(["decoder"], [JOB])
    clock.now = START_SECONDS

    assert standstill(["decoder"], [JOB])


def test_after_an_outage_it_waits_anew() -> None:
    clock, standstill = started()
    assert not standstill(["decoder"], [JOB])
    clock.now += STOPPED_SECONDS
    standstill.begin_again()

    assert not standstill(["decoder"], [JOB])
