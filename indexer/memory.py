"""Doubles of the pipeline's edges that live in memory and are as strict as the real ones.

`MemoryBroker` holds logs with holes (markers of transactions) and committed offsets; a `MemorySource` is a member of
its group, whose assignment the test moves; `MemorySink` stores results and offsets together and refuses what a real
one would refuse; `MemoryHandler` finishes records when the test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from indexer.errors import OutageError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.pipeline import Handled, Listener, Offsets, OwnershipLost


class ContractError(AssertionError):
    """A caller did what the real adapter would not survive."""


@dataclass(slots=True)
class MemoryBroker:
    """Logs and committed offsets of one group."""

    logs: dict[TopicPartition, list[Record | None]] = field(default_factory=dict)  # None: a transaction's marker
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    down: bool = False

    def produce(self, topic: str, partition: int, *values: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        source = TopicPartition(topic, partition)
        log = self.logs.setdefault(source, [])
        for value in values:
            log.append(Record(topic, partition, len(log), b"key", value, headers))

    def mark(self, topic: str, partition: int) -> None:
        """Append a commit or abort marker, which takes an offset and is never seen."""
        self.logs.setdefault(TopicPartition(topic, partition), []).append(None)

    def partitions(self, topics: Iterable[str]) -> set[TopicPartition]:
        return {source for source in self.logs if source.topic in set(topics)}


class MemorySource:
    """A group member; `assign`, `revoke` and `lose` are heard at the next poll, as in the real one."""

    def __init__(self, broker: MemoryBroker, topics: Mapping[str, int]) -> None:
        self._broker, self._topics = broker, dict(topics)
        self._listener: Listener | None = None
        self._next: dict[TopicPartition, int] = {}  # position of what is owned
        self._untaken: set[TopicPartition] = set()
        self._events: list[Callable[[], None]] = []
        self.joined = 0
        self.closed = False
        self.member = False

    # what a test does

    def assign(self, *sources: TopicPartition) -> None:
        self._events.append(lambda: self._assigned(set(sources)))

    def revoke(self, *sources: TopicPartition) -> None:
        self._events.append(lambda: self._revoked(set(sources)))

    def lose(self, *sources: TopicPartition) -> None:
        self._events.append(lambda: self._lost(set(sources)))

    # Source

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        self.joined += 1
        self.assign(*self._broker.partitions(self._topics))

    def poll(self, most: int, timeout: float) -> Sequence[Record]:
        self._require_open()
        while self._events:
            self._events.pop(0)()
        if self._untaken:
            self._assigned(set(self._untaken))
        found: list[Record] = []
        for source in sorted(self._next):
            found += self._take(source, most - len(found))
        return found

    def position(self, source: TopicPartition) -> int | None:
        return self._next.get(source)

    def rewind(self) -> None:
        self._require_open()
        if self._broker.down:
            raise OutageError("the broker is down", code="KAFKA_DOWN")
        for source in self._next:
            self._next[source] = self._broker.committed.get(source, 0)

    def rejoin(self) -> None:
        self._require_open()
        listener = self._heard()
        self._revoked(set(self._next))
        self.subscribe(listener)

    def close(self) -> None:
        self._require_open()
        self._revoked(set(self._next))
        self.closed = True

    def _take(self, source: TopicPartition, most: int) -> Iterable[Record]:
        log = self._broker.logs.get(source, [])
        while self._next[source] < len(log):
            record = log[self._next[source]]
            if record is not None and most <= 0:
                return
            self._next[source] += 1
            if record is not None:
                most -= 1
                yield record

    def _assigned(self, sources: set[TopicPartition]) -> None:
        try:
            starts = self._heard().assigned(sources)
        except (OutageError, TransientError):
            self._untaken |= sources
            return
        self._untaken -= sources
        self.member = True
        for source in sources:
            self._next[source] = starts.get(source, self._broker.committed.get(source, 0))

    def _revoked(self, sources: set[TopicPartition]) -> None:
        owned = sources & set(self._next)
        self._heard().revoked(owned)
        self._give_up(owned)

    def _lost(self, sources: set[TopicPartition]) -> None:
        self._heard().lost(sources & set(self._next))
        self.member = False
        self._give_up(sources)

    def _give_up(self, sources: set[TopicPartition]) -> None:
        self._untaken -= sources
        for source in sources:
            self._next.pop(source, None)

    def _heard(self) -> Listener:
        if self._listener is None:
            raise ContractError("subscribe first")
        return self._listener

    def _require_open(self) -> None:
        if self.closed:
            raise ContractError("the source is closed")


class MemorySink:
    """Stores results and offsets together; `fail` makes the next writes raise instead."""

    def __init__(self, broker: MemoryBroker, starts: Offsets | None = None) -> None:
        self._broker, self._starts = broker, dict(starts or {})
        self._failures: list[Exception] = []
        self.fenced: set[TopicPartition] = set()  # partitions that somebody else took over
        self.owned: set[TopicPartition] = set()
        self.stored: list[bytes] = []
        self.writes: list[tuple[list[bytes], dict[TopicPartition, int]]] = []
        self.attempts: list[tuple[list[bytes], dict[TopicPartition, int]]] = []
        self.assignment_error: Exception | None = None
        self.closed = False

    def fail(self, *errors: Exception) -> None:
        self._failures += errors

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        if self.assignment_error is not None:
            raise self.assignment_error
        self.owned |= set(sources)
        self.fenced -= set(sources)
        return {source: self._starts[source] for source in sources if source in self._starts}

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        self.owned -= set(sources)

    def lost(self, sources: Collection[TopicPartition]) -> None:
        self.owned -= set(sources)

    def write(self, handled: Sequence[Handled[bytes]], offsets: Offsets) -> Sequence[Handled[bytes]]:
        results = [each.result for each in handled]
        self.attempts.append((results, dict(offsets)))
        if self._failures:
            raise self._failures.pop(0)
        if self.fenced & (set(offsets) or self.owned):
            raise OwnershipLost("another epoch")
        if not offsets:
            return handled
        self._check(handled, offsets)
        self._broker.committed.update(offsets)
        self.stored += results
        self.writes.append((results, dict(offsets)))
        return handled

    def close(self) -> None:
        self.closed = True

    def _check(self, handled: Sequence[Handled[bytes]], offsets: Offsets) -> None:
        if not set(offsets) <= self.owned:
            raise ContractError(f"offsets of partitions that are not owned: {set(offsets) - self.owned}")
        at = {source: self._broker.committed.get(source, self._starts.get(source, 0)) for source in offsets}
        for each in handled:
            if each.source not in offsets:
                raise ContractError(f"no offset for {each.source}")
            if each.offset < at[each.source]:
                raise ContractError(f"{each.source}@{each.offset} out of order, or twice")
            at[each.source] = each.offset + 1
        if behind := {source for source, offset in offsets.items() if offset < at[source]}:
            raise ContractError(f"offsets go back or do not cover their results: {behind}")


class MemoryHandler:
    """The result of a record is its value; finished at once, or with `by_hand` when the test says so."""

    def __init__(self, *, by_hand: bool = False, window: int = 100, urgent: Collection[bytes] = ()) -> None:
        self._by_hand, self._window, self._urgent = by_hand, window, urgent
        self._finished: list[Handled[bytes]] = []
        self.waiting: dict[bytes, Record] = {}
        self.submitted: list[bytes] = []
        self.forgotten: set[TopicPartition] = set()
        self.closed = False

    def finish(self, *values: bytes) -> None:
        for value in values:
            record = self.waiting.pop(value)
            self._finished.append(Handled(record.source, record.offset, value, len(value), value in self._urgent))

    def submit(self, records: Sequence[Record]) -> None:
        if len(records) > self.room():
            raise ContractError("more records than there is room for")
        for record in records:
            value = record.value or b""
            self.waiting[value] = record
            self.submitted.append(value)
            if not self._by_hand:
                self.finish(value)

    def completed(self, timeout: float) -> Sequence[Handled[bytes]]:
        finished, self._finished = self._finished, []
        return finished

    def room(self) -> int:
        return self._window - len(self.waiting)

    def forget(self, sources: Collection[TopicPartition]) -> None:
        self.forgotten |= set(sources)
        self.waiting = {value: record for value, record in self.waiting.items() if record.source not in sources}
        self._finished = [each for each in self._finished if each.source not in sources]

    def close(self) -> None:
        self.closed = True
