"""How much a job may ask for at most, and which rates can be kept: options, settings and stored rows alike. Pure."""

from __future__ import annotations

import math

HIGHEST = 1 << 40  # all block numbers lie below it: a block a millisecond for 34 years
HIGHEST_STORED = 1 << 62  # below it lie rows that somebody has moved, and what counts with them fits a bigint
MOST_WINDOW, MOST_BATCH_SIZE = 1_000_000, 100_000  # blocks


def usable(rate: float | None) -> bool:
    """Can the rate be kept? None, which is no limit, can; `nan` and infinity come from rows that we did not check."""
    return rate is None or math.isfinite(rate)
