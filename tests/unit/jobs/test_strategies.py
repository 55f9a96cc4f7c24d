"""Orders in which a job's blocks are published."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import UserError
from indexer.jobs.ranges import Ranges
from indexer.jobs.strategies import Position, Strategy, names, strategy


def no_sizes(bounds: list[tuple[int, int]]) -> list[float | None]:
    return [None] * len(bounds)


def run(order: Strategy, blocks: Ranges, most: int, sizes: object = no_sizes) -> list[int]:
    """Return the heights in the order of publishing, the position going through JSON each time."""
    heights: list[int] = []
    position: Position | None = None
    while True:
        stripes, position = order(blocks, position, most, sizes)  # type: ignore[arg-type]
        assert 0 < len(stripes) <= most
        heights += [h for stripe in stripes for h in stripe.heights()]
        if position is None:
            return heights
        position = json.loads(json.dumps(position))


def test_the_orders_that_come_with_the_indexer() -> None:
    assert names() == ["earliest", "largest", "latest", "sample"]


@given(
    st.sampled_from(["earliest", "largest", "latest", "sample"]),
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 5000)), min_size=1, max_size=4),
    st.integers(1, 50),
)
def test_every_order_publishes_each_block_once(name: str, chosen: list[tuple[int, int]], most: int) -> None:
    blocks = Ranges.of([(first, first + length) for first, length in chosen])

    heights = run(strategy(name), blocks, most)

    assert len(heights) == blocks.count
    assert set(heights) == {n for first, past in blocks.pairs for n in range(first, past)}


def test_earliest_ascends_and_latest_begins_at_the_end() -> None:
    blocks = Ranges.of([(1, 1001)])

    assert run(strategy("earliest"), blocks, 3) == list(range(1, 1001))
    assert run(strategy("latest"), blocks, 3)[0] == 960


def test_a_sample_is_spread_over_the_whole_at_any_moment() -> None:
    blocks = Ranges.of([(0, 64_000)])

    some = run(strategy("sample"), blocks, 10)[: 64 * 100]

    tenths = [sum(1 for h in some if h // 6400 == tenth) for tenth in range(10)]
    assert min(tenths) >= 64 * 8
    assert max(tenths) <= 64 * 13


def test_the_largest_regions_come_first() -> None:
    blocks = Ranges.of([(0, 256 * 64 * 2)])

    def sizes(bounds: list[tuple[int, int]]) -> list[float | None]:
        return [9000.0 if first == 64 * 20 else 100.0 if first < 64 * 100 else None for first, _ in bounds]

    assert run(strategy("largest"), blocks, 7, sizes)[:128] == list(range(64 * 20, 64 * 22))


def test_an_unknown_order_is_a_users_mistake_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="earliest, largest, latest, sample"):
        strategy("random")
