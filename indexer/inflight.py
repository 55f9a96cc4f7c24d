"""Which records are under way, and up to where a partition may be committed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

Result = TypeVar("Result")


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record as it was consumed; headers in order, values as bytes."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int = 0

    @property
    def source(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)


_PENDING = object()


@dataclass(slots=True)
class _Lane(Generic[Result]):
    """One partition: offsets in the order they were consumed, each pending or with its result."""

    slots: OrderedDict[int, object] = field(default_factory=OrderedDict)

    def take_ready(self) -> Iterator[Result]:
        while self.slots:
            offset, result = next(iter(self.slots.items()))
            if result is _PENDING:
                return
            del self.slots[offset]
            yield result  # type: ignore[misc]  # anything but _PENDING is a Result


class InFlight(Generic[Result]):
    """Results leave in offset order per partition: fetching ahead is fine, producing ahead is not.

    - a finished record behind an unfinished one waits
    - a result for a record that was forgotten (its partition left) is dropped
    - the offset to commit is the lowest unfinished one; None when nothing is under way (the consumer's position then)
    """

    def __init__(self) -> None:
        self._lanes: dict[TopicPartition, _Lane[Result]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, record: Record) -> None:
        self._lanes.setdefault(record.source, _Lane()).slots[record.offset] = _PENDING
        self._count += 1

    def finish(self, source: TopicPartition, offset: int, result: Result) -> bool:
        """Note a result; False when nobody waits for it any more."""
        lane = self._lanes.get(source)
        if lane is None or lane.slots.get(offset) is not _PENDING:
            return False
        lane.slots[offset] = result
        return True

    def take_ready(self, sources: Iterable[TopicPartition] | None = None) -> list[Result]:
        """Remove and return the finished prefix of each partition, in offset order."""
        chosen = self._lanes if sources is None else [s for s in sources if s in self._lanes]
        ready = [result for source in chosen for result in self._lanes[source].take_ready()]
        self._count -= len(ready)
        return ready

    def has_ready(self) -> bool:
        return any(next(iter(lane.slots.values()), _PENDING) is not _PENDING for lane in self._lanes.values())

    def lowest_unfinished(self, source: TopicPartition) -> int | None:
        lane = self._lanes.get(source)
        return next(iter(lane.slots), None) if lane else None

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """Drop everything of partitions that left or are rewound."""
        for source in sources:
            lane = self._lanes.pop(source, None)
            if lane is not None:
                self._count -= len(lane.slots)
