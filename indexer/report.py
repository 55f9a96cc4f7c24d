"""What a service tells about itself: outcome records once a second, a summary when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from indexer.clock import wall_ms
from indexer.pipeline import Progress
from indexer.records import Outcome
from indexer.tally import Tally

log = logging.getLogger(__name__)

_SECONDS = 1.0


class Tallied(Protocol):
    tally: Tally


class Reporter:
    """Called between turns of the loop, on its thread; takes the handler's tally and publishes it."""

    def __init__(
        self,
        service: str,
        handler: Tallied,
        progress: Progress,
        publish: Callable[[Outcome], None],
        *,
        instance: str,
        chain_id: int,
        write_stage: str = "commit",  # what the time in the sink's write is called
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._service, self._handler, self._progress, self._publish = service, handler, progress, publish
        self._instance, self._chain_id = instance, chain_id
        self._write_stage, self._clock, self._cpu = write_stage, clock, cpu
        self._due = clock() + _SECONDS
        self._seen: dict[str, float] = {}
        self._total = Tally()

    def tick(self) -> None:
        if self._clock() >= self._due:
            self.publish()
            self._due = self._clock() + _SECONDS

    def publish(self) -> None:
        tally, self._handler.tally = self._handler.tally, Tally()
        waited = self._progress.seconds_waited
        spent = {self._write_stage: waited["write"], "input": waited["input"], "cpu": self._cpu()}
        for stage, seconds in spent.items():
            tally.seconds[stage] += seconds - self._seen.get(stage, 0.0)
        self._seen = spent
        self._total.add(tally)
        if tally.blocks or tally.failures:
            self._publish(tally.outcome(self._service, self._instance, self._chain_id, wall_ms()))

    def close(self) -> None:
        self.publish()
        blocks = max(self._total.blocks, 1)
        stages = ", ".join(f"{stage} {1000 * s / blocks:.2f}" for stage, s in sorted(self._total.seconds.items()))
        log.info("%d blocks; ms per block: %s", self._total.blocks, stages)
        if self._total.failures:
            log.info("failures: %s", dict(self._total.failures))
