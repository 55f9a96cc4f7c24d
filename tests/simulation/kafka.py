"""Kafka in memory: logs with retention, groups that rebalance and evict, and transactions that fence their elders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from indexer.errors import OutageError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.pipeline import Listener, Offsets

Fault = Callable[[str], None]
Rules = Callable[[str], bool]


@dataclass(slots=True)
class Group:
    """Members, and who has which partition; what is wanted differs from what is until its owner gave it up."""

    generation: int = 0
    members: list[int] = field(default_factory=list)
    owner: dict[TopicPartition, int] = field(default_factory=dict)
    wanted: dict[TopicPartition, int] = field(default_factory=dict)
    committed: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)  # offset, metadata

    def balance(self, sources: Collection[TopicPartition], turn: int = 0) -> None:
        self.generation += 1
        count = len(self.members)
        each = enumerate(sorted(sources))
        self.wanted = {source: self.members[(at + turn) % count] for at, source in each} if count else {}

    def leave(self, member: int, sources: Collection[TopicPartition]) -> None:
        if member in self.members:
            self.members.remove(member)
            self.owner = {source: who for source, who in self.owner.items() if who != member}
            self.balance(sources)


@dataclass(slots=True)
class Broker:
    """Logs (None: a transaction's marker), their first offsets that are kept, groups, transactional ids."""

    topics: dict[str, int]
    now: Callable[[], float]
    rules: Rules = lambda rule: True
    logs: dict[TopicPartition, list[Record | None]] = field(default_factory=dict)
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    producers: dict[str, TransactionalProducer] = field(default_factory=dict)  # the youngest of each id
    authors: dict[tuple[TopicPartition, int], str] = field(default_factory=dict)  # transactional ids, of replays too
    members: int = 0

    def sources(self, topics: Collection[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, n) for topic in topics for n in range(self.topics[topic])]

    def group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group())

    def log(self, source: TopicPartition) -> list[Record | None]:
        return self.logs.setdefault(source, [])

    def append(self, record: Record, author: str = "") -> None:
        log = self.log(record.source)
        self.authors[record.source, len(log)] = author
        log.append(replace(record, offset=len(log), timestamp_ms=int(self.now() * 1000)))

    def start(self, source: TopicPartition) -> int:
        return self.starts.get(source, 0)

    def settle(self, group: Group, source: TopicPartition) -> None:
        """Who asks for an offset waits for the transaction that is about to commit it; a frozen one's time ends."""
        for name, producer in list(self.producers.items()):
            if producer.group is group and source in producer.offsets:
                del self.producers[name]

    def forget(self, source: TopicPartition, before: int) -> None:
        """Retention: what lies before is gone."""
        self.starts[source] = max(self.start(source), min(before, len(self.log(source))))

    def committed(self, group: str, source: TopicPartition) -> int:
        return self.group(group).committed.get(source, (0, ""))[0]


class Member:
    """A group member as the pipeline's Source, as indexer/kafka/source.py keeps it."""

    def __init__(
        self,
        broker: Broker,
        group: str,
        topics: Collection[str],
        *,
        due_ms: Callable[[Record], int] = lambda record: 0,
        found: Callable[[TopicPartition, str], None] = lambda source, metadata: None,
    ) -> None:
        broker.members += 1
        self.id, self._broker, self._group, self._topics = broker.members, broker, broker.group(group), list(topics)
        self._due_ms, self._found = due_ms, found
        self._listener: Listener | None = None
        self._next: dict[TopicPartition, int] = {}

    @property
    def member(self) -> bool:
        return self.id in self._group.members

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        self._join()

    def poll(self, most: int, timeout: float) -> Sequence[Record]:
        assert self._listener is not None
        if self.id not in self._group.members:
            gone, self._next = set(self._next), {}
            self._listener.lost(gone)
            self._join()
            return []
        self._hear(self._listener)
        found: list[Record] = []
        for source in sorted(self._next):
            while len(found) < most and (record := self._take(source)) is not None:
                found.append(record)
        return found

    def position(self, source: TopicPartition) -> int | None:
        return self._next.get(source)

    def group_metadata(self) -> bytes:
        return b"%d,%d" % (self.id, self._group.generation)

    def rewind(self) -> None:
        for source in self._next:
            self._next[source] = self._from_the_group(source)

    def rejoin(self) -> None:
        assert self._listener is not None
        self._listener.revoked(set(self._next))
        self._next = {}
        self._group.leave(self.id, self._sources())
        self._join()

    def close(self) -> None:
        assert self._listener is not None
        if self.id in self._group.members:
            self._listener.revoked(set(self._next))
            self._group.leave(self.id, self._sources())
        self._next = {}

    def commit(self, offsets: Offsets) -> None:
        """Say where we are, for those who ask for the lag."""
        if self.id in self._group.members:
            self._group.committed |= {source: (offset, "") for source, offset in offsets.items()}

    def leave(self) -> None:
        self._group.leave(self.id, self._sources())

    def balance(self, turn: int) -> None:
        self._group.balance(self._sources(), turn)

    def _sources(self) -> list[TopicPartition]:
        return self._broker.sources(self._topics)

    def _join(self) -> None:
        self._group.members.append(self.id)
        self._group.balance(self._sources())

    def _hear(self, listener: Listener) -> None:
        wanted = {source for source, who in self._group.wanted.items() if who == self.id}
        if gone := {source for source, who in self._group.owner.items() if who == self.id} - wanted:
            listener.revoked(gone)
            for source in gone:
                self._next.pop(source, None)
                self._group.owner.pop(source, None)
        free = {source for source in wanted - set(self._next) if self._group.owner.get(source, self.id) == self.id}
        if not free or not self.member:  # evicted while it was giving up, frozen
            return
        self._group.owner |= dict.fromkeys(free, self.id)
        try:
            starts = listener.assigned(free)
        except (OutageError, TransientError):
            return  # again at the next poll
        for source in free:
            self._next[source] = starts[source] if source in starts else self._from_the_group(source)

    def _from_the_group(self, source: TopicPartition) -> int:
        self._broker.settle(self._group, source)
        offset, metadata = self._group.committed.get(source, (0, ""))
        self._found(source, metadata)
        return offset

    def _take(self, source: TopicPartition) -> Record | None:
        log = self._broker.log(source)
        self._next[source] = max(self._next[source], self._broker.start(source))
        while self._next[source] < len(log):
            record = log[self._next[source]]
            if record is not None and self._due_ms(record) > self._broker.now() * 1000:
                return None
            self._next[source] += 1
            if record is not None:
                return record
        return None


class TransactionalProducer:
    """What KafkaTransactionSink uses of confluent_kafka.Producer; a committed transaction is seen as a whole."""

    def __init__(self, broker: Broker, group: str, name: str, fault: Fault) -> None:
        self._broker, self.group, self._name, self._fault = broker, broker.group(group), name, fault
        self._records: list[Record] = []
        self.offsets: dict[TopicPartition, tuple[int, str]] = {}

    def init_transactions(self, timeout: float) -> None:
        self._broker.producers[self._name] = self

    def begin_transaction(self) -> None:
        self._records, self.offsets = [], {}

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, headers: list[Any]) -> None:
        self._records.append(Record(topic, partition, -1, key, value, tuple(headers)))

    def send_offsets_to_transaction(self, partitions: Sequence[Any], metadata: bytes, timeout: float) -> None:
        if metadata:
            member, generation = map(int, metadata.split(b","))
            if member not in self.group.members or generation != self.group.generation:
                raise _error(KafkaError.ILLEGAL_GENERATION, abort=True)
        self.offsets = {TopicPartition(p.topic, p.partition): (p.offset, p.metadata or "") for p in partitions}

    def commit_transaction(self, timeout: float) -> None:
        self._fault("before the commit")
        if self._broker.producers.get(self._name) is not self:
            raise _error(KafkaError._FENCED, fatal=True)
        for record in self._records:
            self._broker.append(record, self._name)
        for source in {record.source for record in self._records}:
            self._broker.log(source).append(None)
        self.group.committed |= self.offsets
        self._records, self.offsets = [], {}
        self._fault("after the commit")

    def abort_transaction(self, timeout: float) -> None:
        self._records, self.offsets = [], {}

    def flush(self, timeout: float) -> int:
        return 0

    def poll(self, timeout: float) -> int:
        return 0

    def purge(self) -> None:
        pass


def _error(code: int, *, fatal: bool = False, abort: bool = False) -> KafkaException:
    return KafkaException(KafkaError(code, "told by the simulation", fatal, False, abort))


def unknown_outcome() -> KafkaException:
    """The answer to a commit that was made, or not: nobody knows."""
    return _error(KafkaError._FAIL)
