"""Samples that can be repeated: the same heights for the same range."""

from __future__ import annotations

import random


def spread(first: int, last: int, most: int) -> list[int]:
    """Return up to `most` heights spread over the range, both ends among them, the same for the same range."""
    if last - first + 1 <= most:
        return list(range(first, last + 1))
    chosen = random.Random(f"{first}-{last}")  # noqa: S311  # a sample that can be repeated, not a secret
    width = (last - first) / (most - 1) if most > 1 else 0.0
    inner = {first + round(i * width + chosen.uniform(-0.4, 0.4) * width) for i in range(1, most - 1)}
    return sorted({min(max(number, first), last) for number in inner} | {first, last})
