"""Which faults come when: drawn from a seed, every kind before any comes twice; pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.poison import POISON

KINDS = (
    "kill producer",
    "kill decoder",
    "kill persister",
    "kill producer between publishing and recording",
    "kill decoder inside a transaction",
    "kill persister inside a transaction",
    "freeze producer",
    "freeze decoder",
    "freeze persister",
    "freeze decoder inside a transaction",
    "freeze persister inside a transaction",
    "kill decoder beside a transaction",
    "kill persister beside a transaction",
    "kill broker",
    "kill database",
    "cut database connections",
    "node answers 429",
    "node answers 503",
    "node hangs up",
    "node cuts answers off",
    "node stalls",
    "twin lags",
    "twin is on a dead branch",
    "twin lies",
    "another decoder joins and leaves",
    "another persister joins and leaves",
    "clock of a producer steps",
    "clock of a decoder steps",
    "clock of a persister steps",
    *POISON,
    "fork",
)
OPENING = (  # one of each comes first, so that every run, however short, has faults inside both kinds of transaction
    ("kill decoder inside a transaction", "freeze decoder inside a transaction"),
    ("kill persister inside a transaction", "freeze persister inside a transaction"),
)
PAUSE = (0.6, 2.0)  # seconds between two faults
LASTS = (0.5, 7.0)  # of a fault that ends; a session is over after 6


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when (seconds from the start), what, for how long, and a number that chooses whom."""

    at: float
    kind: str
    lasts: float
    chance: int


def schedule(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a run."""
    return list(_drawn(random.Random(f"chaos/{seed}"), seconds))


def _drawn(dice: random.Random, seconds: float) -> Iterator[Fault]:
    at, left = dice.uniform(*PAUSE), _opened(dice)
    while at < seconds:
        if not left:
            left = dice.sample(KINDS, len(KINDS))
        yield Fault(round(at, 3), left.pop(), round(dice.uniform(*LASTS), 3), dice.getrandbits(32))
        at += dice.uniform(*PAUSE)


def _opened(dice: random.Random) -> list[str]:
    """Return every kind in the order in which it is taken from the end: the opening, then the rest as it falls."""
    first = dice.sample([dice.choice(kinds) for kinds in OPENING], len(OPENING))
    rest = [kind for kind in KINDS if kind not in first]
    return dice.sample(rest, len(rest)) + first
