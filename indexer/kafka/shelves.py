"""Records that were fetched and not handed out yet, a shelf per topic, so that priorities can choose."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain, cycle, repeat

from indexer.inflight import Record, TopicPartition

_RECORDS = 256  # on a shelf; beyond that its topic is paused


@dataclass(slots=True)
class _Shelf:
    records: deque[Record] = field(default_factory=deque)
    size: int = 0


class Shelves:
    """Topics in order of preference, each with its weight: of every round a topic gives at most `weight` records.

    So an earlier topic is preferred as far as its weight goes, and none starves, however few are taken at a time.
    """

    def __init__(self, weights: Mapping[str, int], most_bytes: int) -> None:
        self._shelves = {topic: _Shelf() for topic in weights}
        self._most_bytes = most_bytes
        self._round = sum(weights.values())
        self._turns = cycle(chain.from_iterable(repeat(topic, weight) for topic, weight in weights.items()))
        self._held: Counter[TopicPartition] = Counter()
        self._end: dict[TopicPartition, int] = {}

    def __len__(self) -> int:
        return sum(len(shelf.records) for shelf in self._shelves.values())

    @property
    def size(self) -> int:
        return sum(shelf.size for shelf in self._shelves.values())

    def put(self, record: Record) -> None:
        shelf = self._shelves[record.topic]
        shelf.records.append(record)
        shelf.size += size(record)
        self._held[record.source] += 1
        self._end[record.source] = record.offset + 1

    def end(self, source: TopicPartition) -> int | None:
        """Return the offset after the partition's last record here; None when there is none."""
        return self._end[source] if self._held[source] > 0 else None

    def full(self, topic: str) -> bool:
        shelf = self._shelves[topic]
        return len(shelf.records) >= _RECORDS or shelf.size >= self._most_bytes

    def half_empty(self, topic: str) -> bool:
        shelf = self._shelves[topic]
        return len(shelf.records) <= _RECORDS // 2 and shelf.size <= self._most_bytes // 2

    def choose(self, most: int, most_bytes: int) -> list[Record]:
        """Take at most `most` records, and about `most_bytes` of them: at least one where there is any."""
        chosen: list[Record] = []
        room = most_bytes
        while len(chosen) < most and room > 0 and (record := self._take()) is not None:
            chosen.append(record)
            room -= size(record)
        return chosen

    def drop(self, sources: Collection[TopicPartition]) -> None:
        """Forget what is here of these partitions."""
        gone = set(sources)
        for topic in {source.topic for source in gone} & set(self._shelves):
            kept = [record for record in self._shelves[topic].records if record.source not in gone]
            self._shelves[topic] = _Shelf(deque(kept), sum(map(size, kept)))
        for source in gone:
            del self._held[source]

    def _take(self) -> Record | None:
        for _ in range(self._round):
            shelf = self._shelves[next(self._turns)]
            if shelf.records:
                record = shelf.records.popleft()
                shelf.size -= size(record)
                self._held[record.source] -= 1
                return record
        return None


def size(record: Record) -> int:
    """Return about how many bytes a record occupies."""
    return 200 + len(record.value or b"") + len(record.key or b"")
