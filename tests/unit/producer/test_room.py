"""Which of the waiting jobs a producer takes: within its memory, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indexer.jobs.ranges import MOST_RANGES
from services.producer.room import SMALL, chosen

counts = st.one_of(st.integers(0, SMALL), st.integers(SMALL + 1, MOST_RANGES))


def test_ordinary_jobs_are_taken_as_far_as_there_are_places() -> None:
    assert chosen([(1, 1), (2, 1), (3, 1)], [], 2) == [1, 2]
    assert chosen([(1, 1)], [1, 1], 0) == []


def test_a_second_large_job_waits_and_small_ones_pass_it_by() -> None:
    assert chosen([(1, 249_000), (2, 249_000), (3, 10)], [], 10) == [1, 3]
    assert chosen([(2, 249_000), (3, 10)], [249_000], 10) == [3]


def test_large_jobs_that_fit_together_are_taken_together() -> None:
    assert chosen([(1, 100_000), (2, 100_000), (3, 50_000), (4, 1_001)], [], 10) == [1, 2, 3]


def test_a_large_job_is_not_passed_by_by_another_large_one() -> None:
    assert chosen([(1, 249_000), (2, 2_000)], [100_000], 10) == []


def test_small_jobs_leave_the_room_of_large_ones_alone() -> None:
    assert chosen([(1, MOST_RANGES)], [SMALL] * 25, 10) == [1]


def test_many_small_jobs_have_a_bound_too() -> None:
    assert chosen([(number, SMALL) for number in range(100)], [], 100) == list(range(25))


def test_a_job_that_is_too_large_for_any_room_is_taken_alone() -> None:
    assert chosen([(1, 10 * MOST_RANGES), (2, 2_000)], [5], 10) == [1]


def test_a_job_that_is_not_counted_yet_keeps_its_turn() -> None:
    assert chosen([(1, None), (2, 2_000), (3, 7)], [], 10) == [3]


@given(st.lists(counts), st.lists(counts, max_size=5), st.integers(0, 40))
def test_what_is_held_stays_within_the_bound_and_one_that_holds_nothing_takes_something(
    waiting: list[int], held: list[int], places: int
) -> None:
    taken = chosen(list(enumerate(waiting)), held, places)

    assert taken == sorted(set(taken))
    assert len(taken) <= places
    assert _kind(held + [waiting[each] for each in taken], small=False) <= max(MOST_RANGES, _kind(held, small=False))
    assert _kind(held + [waiting[each] for each in taken], small=True) <= max(25 * SMALL, _kind(held, small=True))
    assert taken or not waiting or not places or held


def _kind(ranges: list[int], *, small: bool) -> int:
    return sum(each for each in ranges if (each <= SMALL) is small)
