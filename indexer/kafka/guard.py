"""What guards a consumer against its records: its slot and signs of life, caution after a death, the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from indexer.caution import Caution, read_marker
from indexer.clock import wall_ms
from indexer.errors import PoisonError
from indexer.faults import hook
from indexer.inflight import Record, TopicPartition
from indexer.kafka.brakes import Brakes, BudgetWatch
from indexer.kafka.slots import Slot
from indexer.life import Life
from indexer.settings import Settings


@dataclass(frozen=True, slots=True)
class Guard:
    service: str
    slot: str
    caution: Caution
    watch: BudgetWatch

    def judge(self, record: Record) -> PoisonError | None:
        """Return why a record must not be handled."""
        condemned = self.caution.condemned(record)
        if condemned is None:
            hook(f"{self.service}.record", record.key)
        return condemned

    def described(self, source: TopicPartition, metadata: str) -> None:
        """Hear what is committed with an offset."""
        self.caution.found(source, read_marker(metadata))

    def describe(self, source: TopicPartition, offset: int) -> str:
        """Return what is to be committed with an offset."""
        marker = self.caution.marker(source, offset)
        return "" if marker is None else marker.text()


@contextmanager
def guarded(settings: Settings, service: str, died: Callable[[Any], bool]) -> Iterator[Guard]:
    """Yield the guard of a process; `died` says of a result whether it is a dead letter."""
    slot = Slot(settings, service)
    try:
        with Life(slot.folder, f"{service}-{slot.name}") as life:
            watch = BudgetWatch(Brakes(settings, service), died)
            try:
                yield Guard(service, slot.name, Caution(slot.name, life.death, wall_ms), watch)
            finally:
                watch.close()
    finally:
        slot.close()
