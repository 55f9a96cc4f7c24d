"""When a replay goes on, waits or stops, by what became of what it published; pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

VANGUARD_SECONDS = 15.0  # a letter that is poison again is one within a second or two
_FEWEST_DEATHS = 20  # with all on their way: below this a few bad letters are no reason to stop
_VANGUARD, _MANY = 20, 100


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


@dataclass(frozen=True, slots=True)
class Ahead:
    """Letters that go out before the others, which wait for what becomes of them."""

    end: int  # position after the last of them
    canaries: bool = True  # asked for: all of them must have an outcome


def vanguard(letters: int) -> int:
    """Return how many of so many letters go ahead where nobody asked for canaries: a few are out before any look."""
    return _VANGUARD if letters > _MANY else 0


def verdict(position: int, ahead: Ahead | None, outcomes: Outcomes, *, late: bool = False) -> Verdict:
    """Return what to do next; `outcomes` are those of what went ahead while nothing else did, else the run's.

    `late`: what went ahead had its time.

    - before it is all out: GO_ON (with it)
    - half of it or more died again: STOP, without waiting for the rest
    - canaries without an outcome: WAIT, then STOP
    - others: WAIT until half of them have one, or had their time; then STOP when half of these died, else GO_ON
    - beyond: STOP when half of what has an outcome died, and not only a few; else GO_ON
    """
    if ahead is None or position > ahead.end:
        return Verdict.STOP if outcomes.died >= _FEWEST_DEATHS and outcomes.mostly_died else Verdict.GO_ON
    if position < ahead.end:
        return Verdict.GO_ON
    if 2 * outcomes.died >= outcomes.replayed > 0:
        return Verdict.STOP
    if ahead.canaries:
        unknown = Verdict.STOP if late else Verdict.WAIT
        return unknown if outcomes.undecided else Verdict.GO_ON
    if 2 * outcomes.undecided > outcomes.replayed and not late:
        return Verdict.WAIT
    return Verdict.STOP if outcomes.mostly_died else Verdict.GO_ON
