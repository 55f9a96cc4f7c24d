"""When a run may end: what paused jobs had published is resolved, or a stopped service lets nothing move."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from indexer.storage.jobs import JobStatus

STILL_SECONDS = 30.0  # without a block less under way: what is left waits for a retry, or for a node that is away
STOPPED_SECONDS = 5.0  # without a block more stored or dead while a service is stopped
START_SECONDS = 10.0  # services start, and their groups wait for those that were killed


class Settled:
    """Told again and again how many blocks are under way, says whether to wait for them no longer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left, self._since = -1, 0.0

    def __call__(self, left: int) -> bool:
        now = self._clock()
        if left != self._left:
            self._left, self._since = left, now
        return left == 0 or now - self._since >= STILL_SECONDS


class Standstill:
    """Told again and again what is stopped and how far the jobs are, says whether nothing moves any more."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: object = None
        self._since, self._earliest = 0.0, clock() + START_SECONDS

    def __call__(self, stopped: Collection[str], found: Sequence[JobStatus]) -> bool:
        now = self._clock()
        seen = (sorted(stopped), [(job.id, job.state, job.stored, job.dead) for job in found])
        if seen != self._seen:
            self._seen, self._since = seen, now
        return bool(stopped) and now >= self._earliest and now - self._since >= STOPPED_SECONDS

    def begin_again(self) -> None:
        """Wait anew: nobody could see, or do, anything meanwhile."""
        self._seen = None
