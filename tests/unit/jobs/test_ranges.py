"""Sets of block numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import UserError
from indexer.jobs import ranges
from indexer.jobs.ranges import Ranges, parse_manifest
from indexer.topics import STRIPE

pairs = st.lists(
    st.tuples(st.integers(0, 2000), st.integers(1, 300)).map(lambda p: (p[0], p[0] + p[1])), min_size=1, max_size=8
)


@given(pairs)
def test_the_stripes_of_a_set_cover_each_block_once_and_nothing_else(chosen: list[tuple[int, int]]) -> None:
    blocks = Ranges.of(chosen)

    heights = [h for i in range(blocks.stripe_count) for h in blocks.stripe(i).heights()]

    assert heights == sorted({n for first, past in chosen for n in range(first, past)})
    assert len(heights) == blocks.count


@given(pairs)
def test_every_stripe_wants_something(chosen: list[tuple[int, int]]) -> None:
    blocks = Ranges.of(chosen)

    stripes = [blocks.stripe(i) for i in range(blocks.stripe_count)]

    assert all(stripe.wanted for stripe in stripes)
    assert [s.number for s in stripes] == sorted({s.number for s in stripes})


def test_fifty_million_blocks_are_as_small_as_a_hundred() -> None:
    blocks = Ranges.of([(1, 50_000_001)])

    assert blocks.pairs == ((1, 50_000_001),)
    assert blocks.stripe_count == 50_000_000 // STRIPE + 1
    assert blocks.stripe(blocks.stripe_count - 1).wanted.bit_count() == 1


def test_neighbouring_and_overlapping_ranges_become_one() -> None:
    assert Ranges.of([(5, 10), (1, 5), (8, 20)]).pairs == ((1, 20),)


@pytest.mark.parametrize("pair", [(5, 5), (9, 3), (-1, 4), (0, 2**63)])
def test_a_range_that_is_none_is_a_users_mistake(pair: tuple[int, int]) -> None:
    with pytest.raises(UserError) as caught:
        Ranges.of([pair])

    assert caught.value.code == "BAD_RANGE"


def test_an_empty_set_is_a_users_mistake() -> None:
    with pytest.raises(UserError):
        Ranges.of([])


def test_a_manifest_names_numbers_and_ranges() -> None:
    blocks = parse_manifest(["# holes", "17", "120-122, 9", "", "1_000"])

    assert blocks.pairs == ((9, 10), (17, 18), (120, 123), (1000, 1001))
    assert blocks.to_multirange() == "{[9,10),[17,18),[120,123),[1000,1001)}"


@pytest.mark.parametrize("line", ["x", "1-", "-3", "9-5", "1.5", "0x10"])
def test_a_bad_line_of_a_manifest_is_named(line: str) -> None:
    with pytest.raises(UserError, match="line 2"):
        parse_manifest(["1", line])


def test_a_manifest_from_windows_begins_with_a_mark() -> None:
    assert parse_manifest(["\ufeff17", "18"]).pairs == ((17, 19),)


def test_a_manifest_in_any_order_is_as_small_as_its_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "MOST_RANGES", 3)

    assert parse_manifest(str(n) for n in reversed(range(100))).pairs == ((0, 100),)


def test_a_manifest_of_too_many_ranges_is_refused_before_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "MOST_RANGES", 3)
    lines = (str(n) for n in range(0, 1_000_000, 2))

    with pytest.raises(UserError, match="more than 3 ranges that do not touch: split it"):
        parse_manifest(lines)

    assert int(next(lines)) < 20, "the rest was not read"


def test_a_manifest_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="names no block"):
        parse_manifest(["# nothing"])
