"""Bars of speed: strict in `make bars`, on a machine that does nothing else; elsewhere with slack."""

from __future__ import annotations

import os

SLACK = float(os.environ.get("BAR_SLACK", "4"))


def at_most(seconds: float) -> float:
    """Return the bar that a time is held to."""
    return seconds * SLACK


def at_least(times: float) -> float:
    """Return the bar that a gain in speed is held to; no gain is 1."""
    return 1 + (times - 1) / SLACK
