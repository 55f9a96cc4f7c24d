"""The order in which a job's stripes are published; found by entry point, so that people can bring their own.

A strategy is a function of (blocks, position, most, sizes): it returns the next `most` stripes and where to go on, or
None when there are no more. The position is JSON; it is stored with the job, so a strategy keeps nothing in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from math import gcd
from typing import Any, Protocol

from indexer.errors import UserError
from indexer.jobs.ranges import Ranges, Stripe

Position = dict[str, Any]
GROUP = "indexer.strategies"
_REGIONS = 256  # a job is cut into at most this many regions, each with one expected size


class Sizes(Protocol):
    def __call__(self, bounds: list[tuple[int, int]]) -> list[float | None]:
        """Return the mean bytes of stored blocks in each half-open range of numbers; None where nothing is stored."""


Strategy = Callable[[Ranges, Position | None, int, Sizes], tuple[list[Stripe], Position | None]]


def earliest(
    blocks: Ranges, position: Position | None, most: int, sizes: Sizes
) -> tuple[list[Stripe], Position | None]:
    """Lowest number first."""
    start = position["index"] if position else 0
    past = min(start + most, blocks.stripe_count)
    return [blocks.stripe(i) for i in range(start, past)], _go_on(past, blocks)


def latest(blocks: Ranges, position: Position | None, most: int, sizes: Sizes) -> tuple[list[Stripe], Position | None]:
    """Highest number first."""
    start = position["index"] if position else 0
    past = min(start + most, blocks.stripe_count)
    top = blocks.stripe_count - 1
    return [blocks.stripe(top - i) for i in range(start, past)], _go_on(past, blocks)


def sample(blocks: Ranges, position: Position | None, most: int, sizes: Sizes) -> tuple[list[Stripe], Position | None]:
    """Evenly spread: what is stored at any moment is a sample of the whole (steps near the golden ratio)."""
    count = blocks.stripe_count
    step = max(int(count * 0.6180339887), 1)
    while gcd(step, count) != 1:
        step += 1
    start = position["index"] if position else 0
    past = min(start + most, count)
    return [blocks.stripe(i * step % count) for i in range(start, past)], _go_on(past, blocks)


def largest(blocks: Ranges, position: Position | None, most: int, sizes: Sizes) -> tuple[list[Stripe], Position | None]:
    """Expected size, largest first, so that a job does not end with its slowest blocks.

    The expectation is the mean size of what is stored already in a region; unknown regions count as the mean of all.
    """
    width = -(-blocks.stripe_count // _REGIONS)
    if position is None:
        position = {"order": _by_size(blocks, width, sizes), "region": 0, "index": 0}
    order, region, index = position["order"], position["region"], position["index"]
    stripes: list[Stripe] = []
    while len(stripes) < most and region < len(order):
        start = order[region] * width + index
        past = min(start + most - len(stripes), (order[region] + 1) * width, blocks.stripe_count)
        stripes += [blocks.stripe(i) for i in range(start, past)]
        index += past - start
        if past in ((order[region] + 1) * width, blocks.stripe_count):
            region, index = region + 1, 0
    return stripes, {"order": order, "region": region, "index": index} if region < len(order) else None


def _by_size(blocks: Ranges, width: int, sizes: Sizes) -> list[int]:
    starts = range(0, blocks.stripe_count, width)
    bounds = [
        (blocks.stripe(s).number * 64, (blocks.stripe(min(s + width, blocks.stripe_count) - 1).number + 1) * 64)
        for s in starts
    ]
    known = sizes(bounds)
    found = [size for size in known if size is not None]
    mean = sum(found) / len(found) if found else 0.0
    expected = [mean if size is None else size for size in known]
    return sorted(range(len(expected)), key=lambda region: (-expected[region], region))


def _go_on(past: int, blocks: Ranges) -> Position | None:
    return {"index": past} if past < blocks.stripe_count else None


@cache
def strategy(name: str) -> Strategy:
    """Return a strategy by its entry point's name; raises UserError listing what there is."""
    found = entry_points(group=GROUP)
    for point in found:
        if point.name == name:
            loaded: Strategy = point.load()
            return loaded
    raise UserError(f"no order strategy {name!r}: there are {', '.join(names())}", code="UNKNOWN_STRATEGY")


def names() -> list[str]:
    """Return the names of all installed strategies."""
    return sorted(entry_points(group=GROUP).names)
