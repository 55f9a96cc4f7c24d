"""A run waits for what is under way, and not for what stands still."""

from __future__ import annotations

from indexer.local.settled import STILL_SECONDS, Settled


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
