"""When a replay goes on, waits or stops, by what became of what it published; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_FEWEST_DEATHS = 20  # without canaries: below this a few bad letters are no reason to stop


class Verdict(Enum):
    GO_ON = "go on"
    WAIT = "wait"  # for the canaries
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of the letters that a run replayed."""

    replayed: int = 0
    stored: int = 0
    died: int = 0  # there is a newer letter

    @property
    def undecided(self) -> int:
        return self.replayed - self.stored - self.died

    def since(self, before: Outcomes) -> Outcomes:
        """Return what came after `before`."""
        return Outcomes(self.replayed - before.replayed, self.stored - before.stored, self.died - before.died)

    @property
    def mostly_died(self) -> bool:
        return self.died > 0 and self.died >= self.stored


def verdict(position: int, canary: int, outcomes: Outcomes) -> Verdict:
    """Return what to do next; `outcomes` are the canaries' while they are all that was published, else the run's.

    - before the canaries are out: GO_ON (with canaries)
    - half of the canaries or more died again: STOP, without waiting for the others
    - canaries without an outcome: WAIT
    - beyond them: STOP when half of what has an outcome died, and not only a few; else GO_ON
    """
    if canary and position <= canary:
        if position < canary:
            return Verdict.GO_ON
        if 2 * outcomes.died >= outcomes.replayed > 0:
            return Verdict.STOP
        return Verdict.WAIT if outcomes.undecided else Verdict.GO_ON
    return Verdict.STOP if outcomes.died >= _FEWEST_DEATHS and outcomes.mostly_died else Verdict.GO_ON
