"""How much a job may ask for at most, and which rates can be kept: options, settings and stored rows alike. Pure."""

from __future__ import annotations

import math

HIGHEST = 2**62  # all block numbers lie below it
MOST_WINDOW, MOST_BATCH_SIZE = 1_000_000, 100_000  # blocks


def usable(rate: float | None) -> bool:
    """Can the rate be kept? None, which is no limit, can; `nan` and infinity come from rows that we did not check."""
    return rate is None or math.isfinite(rate)
