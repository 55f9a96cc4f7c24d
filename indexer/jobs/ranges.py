"""Sets of block numbers as sorted, disjoint ranges; a job of 50 million blocks is as small as one of a hundred."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from indexer.errors import UserError
from indexer.limits import HIGHEST, HIGHEST_STORED
from indexer.topics import STRIPE

MOST_RANGES = 250_000  # of one job: a producer has them all in memory, some 300 bytes each
_NUMBER = r"[0-9]{1,20}(?:_[0-9]{1,20}){0,6}"
_ENTRY = re.compile(f"{_NUMBER}(-{_NUMBER})?")
FULL_MASK = (1 << STRIPE) - 1


class Stripe(NamedTuple):
    """64 neighbouring heights and which of them are wanted: bit i, from the right, is height number * 64 + i."""

    number: int
    wanted: int

    def heights(self) -> Iterator[int]:
        first = self.number * STRIPE
        return (first + i for i in range(STRIPE) if self.wanted >> i & 1)

    @property
    def blocks(self) -> int:
        return self.wanted.bit_count()


@dataclass(frozen=True, slots=True)
class Ranges:
    """Disjoint, sorted, half-open ranges [from, to) of block numbers."""

    pairs: tuple[tuple[int, int], ...]
    _spans: tuple[tuple[int, int], ...] = field(init=False, repr=False)  # the stripes that are touched, half-open
    _before: tuple[int, ...] = field(init=False, repr=False)  # how many stripes lie before each span

    def __post_init__(self) -> None:
        spans = _merge((first // STRIPE, (past - 1) // STRIPE + 1) for first, past in self.pairs)
        before, count = [], 0
        for first, past in spans:
            before.append(count)
            count += past - first
        object.__setattr__(self, "_spans", spans)
        object.__setattr__(self, "_before", (*before, count))

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> Ranges:
        """Return the union of half-open ranges.

        Raises UserError for a range that is empty, negative or absurd.
        """
        pairs = list(pairs)
        for first, past in pairs:
            if not 0 <= first < past <= HIGHEST_STORED:
                raise UserError(f"blocks {first}–{past - 1}: not a range of block numbers", code="BAD_RANGE")
        if not pairs:
            raise UserError("no blocks: the set is empty", code="BAD_RANGE")
        return cls(_merge(pairs))

    @property
    def count(self) -> int:
        return sum(past - first for first, past in self.pairs)

    @property
    def last(self) -> int:
        return self.pairs[-1][1] - 1

    @property
    def stripe_count(self) -> int:
        return self._before[-1]

    def stripe(self, index: int) -> Stripe:
        """Return the index-th stripe that has a wanted height, counted from the lowest."""
        at = bisect_right(self._before, index) - 1
        return self._masked(self._spans[at][0] + index - self._before[at])

    def _masked(self, number: int) -> Stripe:
        first, wanted = number * STRIPE, 0
        at = max(bisect_right(self.pairs, (first, HIGHEST_STORED + 1)) - 1, 0)
        while at < len(self.pairs) and self.pairs[at][0] < first + STRIPE:
            low, high = max(self.pairs[at][0] - first, 0), min(self.pairs[at][1] - first, STRIPE)
            if low < high:
                wanted |= ((1 << (high - low)) - 1) << low
            at += 1
        return Stripe(number, wanted)

    def to_multirange(self) -> str:
        """Return PostgreSQL's int8multirange literal."""
        return "{" + ",".join(f"[{first},{past})" for first, past in self.pairs) + "}"


def _merge(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, past in sorted(pairs):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], past))
        else:
            merged.append((first, past))
    return tuple(merged)


def parse_manifest(lines: Iterable[str]) -> Ranges:
    """Read block numbers and ranges, one a line or separated by commas: `17`, `20-29`; `#` begins a comment.

    Raises UserError naming the line, or for more than MOST_RANGES ranges that do not touch.
    """
    pairs: list[tuple[int, int]] = []
    for number, line in enumerate(lines, start=1):
        for part in line.removeprefix("\ufeff").split("#", 1)[0].replace(",", " ").split():
            if _ENTRY.fullmatch(part) is None:
                raise UserError(f"manifest line {number}: {part!r} is not a block or a range", code="BAD_MANIFEST")
            first, _, last = part.partition("-")
            pair = (int(first), int(last or first) + 1)
            if not 0 <= pair[0] < pair[1] <= HIGHEST:
                raise UserError(f"manifest line {number}: {part!r} is not a range of blocks", code="BAD_MANIFEST")
            pairs.append(pair)
        if len(pairs) > 2 * MOST_RANGES:
            pairs = _few(pairs)
    if not pairs:
        raise UserError("the manifest names no block", code="BAD_MANIFEST")
    return Ranges.of(_few(pairs))


def _few(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged = list(_merge(pairs))
    if len(merged) > MOST_RANGES:
        text = f"the manifest has more than {MOST_RANGES:,} ranges that do not touch: split it into several jobs"
        raise UserError(text, code="BAD_MANIFEST")
    return merged
