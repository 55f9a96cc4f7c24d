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


@dataclass(frozen=True, slots=True)
class _Finished(Generic[Result]):
    result: Result
    size: int


@dataclass(slots=True)
class _Lane(Generic[Result]):
    """One partition: offsets in the order they were consumed, each with its result or None while it is unfinished."""

    slots: OrderedDict[int, _Finished[Result] | None] = field(default_factory=OrderedDict)

    def ready(self) -> Iterator[_Finished[Result]]:
        """Remove and yield the finished prefix, one by one."""
        while self.slots:
            offset, finished = next(iter(self.slots.items()))
            if finished is None:
                return
            del self.slots[offset]
            yield finished


class InFlight(Generic[Result]):
    """Results leave in offset order per partition: fetching ahead is fine, producing ahead is not.

    - a finished record behind an unfinished one waits
    - a result for a record that was forgotten (its partition left) is dropped
    - the offset to commit is the lowest that has not left; None when nothing is under way (the position then)
    """

    def __init__(self) -> None:
        self._lanes: dict[TopicPartition, _Lane[Result]] = {}
        self._count = 0
        self.finished = 0  # results that have not left
        self.finished_bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def unfinished(self) -> int:
        return self._count - self.finished

    def add(self, record: Record) -> None:
        slots = self._lanes.setdefault(record.source, _Lane()).slots
        if record.offset in slots:
            raise ValueError(f"{record.topic}[{record.partition}]@{record.offset} is under way already")
        slots[record.offset] = None
        self._count += 1

    def finish(self, source: TopicPartition, offset: int, result: Result, size: int = 0) -> bool:
        """Note a result of `size` bytes; False when nobody waits for it any more."""
        lane = self._lanes.get(source)
        if lane is None or lane.slots.get(offset, self) is not None:
            return False
        lane.slots[offset] = _Finished(result, size)
        self.finished += 1
        self.finished_bytes += size
        return True

    def take_ready(self, most: int | None = None, most_bytes: int | None = None) -> list[Result]:
        """Remove and return finished prefixes, in offset order per partition, within the limits but at least one."""
        taken: list[Result] = []
        total = 0
        for source, lane in self._lanes.items():
            for finished in lane.ready():
                taken.append(finished.result)
                total += finished.size
                self._left(finished)
                if len(taken) == most or (most_bytes is not None and total >= most_bytes):
                    self._lanes[source] = self._lanes.pop(source)  # the others come first next time
                    return taken
        return taken

    def has_ready(self) -> bool:
        return self.finished > 0 and any(next(iter(lane.slots.values()), None) for lane in self._lanes.values())

    def lowest_waiting(self, source: TopicPartition) -> int | None:
        lane = self._lanes.get(source)
        return next(iter(lane.slots), None) if lane else None

    def forget(self, sources: Iterable[TopicPartition]) -> None:
        """Drop everything of partitions that left or are rewound."""
        for source in sources:
            lane = self._lanes.pop(source, None)
            for finished in lane.slots.values() if lane else ():
                if finished is None:
                    self._count -= 1
                else:
                    self._left(finished)

    def _left(self, finished: _Finished[Result]) -> None:
        self._count -= 1
        self.finished -= 1
        self.finished_bytes -= finished.size
