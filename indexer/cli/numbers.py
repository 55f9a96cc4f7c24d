"""Numbers that an option takes, each with an upper end: what no column or timer can hold is refused at once."""

from __future__ import annotations

import math
from typing import Any

import click

from indexer.limits import HIGHEST, MOST_BATCH_SIZE, MOST_WINDOW

BLOCK = click.IntRange(0, HIGHEST - 1)
WINDOW = click.IntRange(1, MOST_WINDOW)
BATCH_SIZE = click.IntRange(1, MOST_BATCH_SIZE)
_SLOWEST, _FASTEST = 0.001, 1e9
_LONGEST_SECONDS = 86_400.0
_MOST_COUNTED = 1_000_000_000  # below the largest of PostgreSQL's integer


class Finite(click.FloatRange):
    """A range of numbers that `nan` is not in, which compares as neither too small nor too large."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class RateOrNone(Finite):
    """A rate, or 0 for none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if 0 < number < _SLOWEST:
            self.fail(f"{value} is neither 0 nor at least {_SLOWEST}.", param, ctx)
        return number


RATE = Finite(_SLOWEST, _FASTEST)
RATE_OR_NONE = RateOrNone(0, _FASTEST)
ID = click.IntRange(1, 2**63 - 1)  # of a job, a letter, a run, an audit
PROCESSES = click.IntRange(1, 1000)
SECONDS = Finite(0, _LONGEST_SECONDS)


def counted(least: int) -> click.IntRange:
    """Return the type of a number of things, `least` at least."""
    return click.IntRange(least, _MOST_COUNTED)
