"""What was done since the last report, and where the time went."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from indexer.records import Outcome


@dataclass(slots=True)
class Tally:
    blocks: int = 0
    first: int | None = None
    last: int = -1
    bytes: int = 0
    jobs: set[int | None] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def block(self, number: int, size: int, job_id: int | None) -> None:
        self.blocks += 1
        self.first = number if self.first is None else min(self.first, number)
        self.last = max(self.last, number)
        self.bytes += size
        self.jobs.add(job_id)

    def add(self, other: Tally) -> None:
        self.blocks += other.blocks
        self.bytes += other.bytes
        self.failures.update(other.failures)
        for stage, spent in other.seconds.items():
            self.seconds[stage] += spent

    def outcome(self, service: str, instance: str, chain_id: int, at_ms: int) -> Outcome:
        return Outcome(
            service=service,
            instance=instance,
            chain_id=chain_id,
            stage="block",
            partition=-1,  # of several
            first_block=self.first if self.first is not None else -1,
            last_block=self.last,
            blocks=self.blocks,
            at=at_ms,
            bytes=self.bytes,
            job_id=next(iter(self.jobs)) if len(self.jobs) == 1 else None,
            failures=dict(self.failures),
            seconds={stage: round(spent, 6) for stage, spent in self.seconds.items()},
        )


@dataclass(slots=True)
class Work:
    """What handler, sink and reporter of a loop share: the tally of the present second."""

    tally: Tally = field(default_factory=Tally)

    def stopwatch(self, clock: Callable[[], float] = time.perf_counter) -> Stopwatch:
        return Stopwatch(clock, self.tally.seconds)


class Stopwatch:
    """Adds the time since the last lap to a stage."""

    def __init__(self, clock: Callable[[], float], seconds: defaultdict[str, float]) -> None:
        self._clock, self._seconds = clock, seconds
        self._at = clock()

    def __call__(self, stage: str) -> None:
        now = self._clock()
        self._seconds[stage] += now - self._at
        self._at = now
