"""Whether a process lives, and whether it is ready for work: judged by what its loop tells; pure.

- alive: the loop turns. A turn may wait for the end of a transaction, so this is patient; an outage is no death
- ready: and nothing that it needs is away, no operator is needed, it is in its group (with partitions, or rightly
  without), and what it has in hand gets done
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from indexer.error_codes import hint
from indexer.pipeline import Progress

DEAD_SECONDS = 120.0  # without a turn
SLOW_SECONDS = 30.0
STUCK_SECONDS = 60.0  # with something in hand and nothing finished: longer than a block's retries in place


@dataclass(frozen=True, slots=True)
class Signs:
    """What a process knows of itself."""

    turned: float  # seconds since the loop's last turn
    still: float = 0.0  # seconds since something was finished; 0 while nothing is in hand
    away: tuple[str, ...] = ()  # codes of what does not answer
    stopped: tuple[str, ...] = ()  # codes of why nothing goes on before an operator says so
    member: bool = True  # of its group


@dataclass(frozen=True, slots=True)
class Health:
    """What is answered; `problems` (codes) is empty where the process is ready."""

    alive: bool
    problems: tuple[str, ...]

    def hints(self) -> dict[str, str]:
        """Return each problem with what it means and what to do."""
        return {code: hint(code) for code in self.problems}


def judge(signs: Signs) -> Health:
    """Return whether the process lives, and everything that keeps it from its work."""
    problems = [*signs.away, *signs.stopped]
    if signs.turned > SLOW_SECONDS:
        problems.append("LOOP_STANDS")
    if not signs.member:
        problems.append("NOT_A_MEMBER")
    if signs.still > STUCK_SECONDS:
        problems.append("NOTHING_MOVES")
    return Health(signs.turned <= DEAD_SECONDS, tuple(problems))


def of_loop(progress: Progress, now: float, away: Iterable[str | None] = ()) -> Signs:
    """Return the signs of a consumer; `away` has the codes of outages that its loop does not see, None for none."""
    known = dict.fromkeys(code for code in (progress.outage, *away) if code is not None)
    return Signs(
        turned=now - progress.last_turn,
        still=now - progress.last_moved,
        away=tuple(known),
        stopped=("BUDGET_SPENT",) if progress.held and not known else (),  # held too until Kafka was asked
        member=progress.member,
    )
