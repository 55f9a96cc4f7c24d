"""The parts of the checks that need no database: the sample of heights, and how much a finding keeps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from indexer.verification.checks import Finding
from indexer.verification.extent import Stretch, sampled
from indexer.verification.sample import spread

heights = st.integers(0, 10**9)


@given(heights, st.integers(0, 10**6), st.integers(1, 300))
def test_a_sample_is_sorted_in_range_bounded_and_has_both_ends(first: int, length: int, most: int) -> None:
    last = first + length

    chosen = spread(first, last, most)

    assert chosen == sorted(set(chosen)) == spread(first, last, most)
    assert first <= chosen[0] <= chosen[-1] <= last
    assert {first, last} <= set(chosen)
    assert len(chosen) <= max(most, 2)


@given(heights, st.integers(0, 200))
def test_a_range_that_fits_is_taken_whole(first: int, length: int) -> None:
    assert spread(first, first + length, length + 1) == list(range(first, first + length + 1))


@given(st.integers(1_000, 10**6), st.integers(10, 100))
def test_no_part_of_a_range_is_left_out(length: int, most: int) -> None:
    chosen = spread(0, length, most)

    widest = max(later - earlier for earlier, later in pairwise(chosen))
    assert widest <= 2 * length / (most - 1) + 1


def test_a_sample_of_what_is_stored_has_no_height_of_a_hole() -> None:
    stored = [Stretch(1, 10), Stretch(210, 220), Stretch(250, 250)]

    everything = sampled(stored, 100)

    assert everything == [(each, list(range(each.first, each.last + 1))) for each in stored]
    assert sampled([], 100) == []


def test_stretches_between_the_chosen_heights_are_left_out() -> None:
    stored = [Stretch(number, number) for number in range(0, 1_000, 10)]

    some = sampled(stored, 5)

    assert len(some) == 5
    assert (some[0][0], some[-1][0]) == (stored[0], stored[-1])
    assert all(heights == [stretch.first] for stretch, heights in some)


def test_a_finding_counts_all_problems_and_keeps_some() -> None:
    finding = Finding("gaps")

    for number in range(1_000):
        finding.note(f"block {number}")

    assert finding.wrong == 1_000
    assert finding.problems == [f"block {number}" for number in range(20)]


def test_a_check_of_which_the_node_answered_nothing_is_not_passed() -> None:
    assert Finding("roots").passed
    assert Finding("roots", looked_at=1, skipped=9, unanswered=9).passed
    assert Finding("ledger", skipped=9).passed  # contracts without balanceOf prove nothing wrong
    assert not Finding("roots", skipped=9, unanswered=9).passed
    assert not Finding("roots", looked_at=1, wrong=1).passed
