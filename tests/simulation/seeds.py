"""One seed from its beginning to its end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from tests.simulation.checks import violations
from tests.simulation.processes import SERVICES, ports
from tests.simulation.rules import taken_out
from tests.simulation.world import World

TURNS = 250


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed came to."""

    seed: int
    wrong: list[str]
    faults: Counter[str]
    ended: Counter[str]


def simulate(seed: int, without: frozenset[str] = frozenset(), turns: int = TURNS) -> Outcome:
    """Run a seed; `without` names rules that are taken out."""
    logging.disable(logging.ERROR)
    try:
        with ports(), taken_out(without):
            world = World(seed, without, SERVICES)
            try:
                for _ in range(turns):
                    world.turn()
                if not world.database.notes:
                    world.settle()
                wrong = violations(world)
            except Exception as error:
                wrong = [f"{type(error).__name__}: {error}"]
    finally:
        logging.disable(logging.NOTSET)
    return Outcome(seed, wrong, world.faults, world.ended)
