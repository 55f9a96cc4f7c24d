"""The whole life of a consumer: poll → handle → write, with dead letters as ordinary results. Start reading here.

    source.poll() ──▶ handler.submit() ──▶ (fetch, prove, decode …) ──▶ handler.completed()
                                                                              │ in offset order per partition
    source.position() ──────────────▶ offsets ──▶ sink.write(results, offsets) ◀─ both or neither

Every service that consumes runs this loop and no other. A handler turns a record into a result, and a failure into
a result as well (a dead letter, a retry); a sink stores results and offsets in one transaction: a Kafka transaction
in the decoder, a PostgreSQL transaction in the persister. What goes wrong in a sink is told by the kind of its error:

- Rewind: nothing was written; the source goes back to what is committed and the records come again
- OwnershipLost: another process owns the partitions; leave the group and join anew
- OutageError, TransientError: pause, stay in the group, try the same write again with back-off
- anything else: the process ends, nothing committed
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from indexer.errors import IndexerError, OutageError, TransientError
from indexer.inflight import InFlight, Record, TopicPartition

Offsets = Mapping[TopicPartition, int]


class Rewind(IndexerError):  # noqa: N818  # an order, not a mishap
    """The write was undone as a whole; consume again from the committed offsets."""

    code = "REWIND"


class OwnershipLost(IndexerError):  # noqa: N818
    """Somebody else owns a partition that we thought ours."""

    code = "OWNERSHIP_LOST"


Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
Result_contra = TypeVar("Result_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Handled(Generic[Result_co]):
    """A record's fate: where it came from, and what is to be written for it."""

    source: TopicPartition
    offset: int
    result: Result_co


class Listener(Protocol):
    """Told about the assignment from inside `Source.poll`, before the source acts on it."""

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets: ...
    def revoked(self, sources: Collection[TopicPartition]) -> None: ...
    def lost(self, sources: Collection[TopicPartition]) -> None: ...


class Source(Protocol):
    """A consumer of the group."""

    def subscribe(self, listener: Listener) -> None: ...

    def poll(self, most: int, timeout: float) -> Sequence[Record]:
        """Return up to `most` records; with `most` 0 only keep the membership alive."""

    def position(self, source: TopicPartition) -> int | None:
        """Return the offset after the last record returned, past transaction markers; None if nothing was returned."""

    def rewind(self) -> None:
        """Go back to the committed offsets of everything assigned."""

    def rejoin(self) -> None:
        """Leave the group and join it again; the listener hears of both."""

    def close(self) -> None: ...


class Handler(Protocol[Result_co]):
    """From records to results; may keep several under way."""

    def submit(self, records: Sequence[Record]) -> None: ...

    def completed(self, timeout: float) -> Sequence[Handled[Result_co]]:
        """Return what is finished, in any order; wait at most `timeout` seconds for the first."""

    def room(self) -> int:
        """Return how many more records may be submitted now."""

    def forget(self, sources: Collection[TopicPartition]) -> None:
        """Drop what was fetched ahead for partitions that left."""

    def close(self) -> None: ...


class Sink(Protocol[Result_contra]):
    """Where results and offsets are stored together."""

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        """Take the partitions over and return where to start; a partition left out starts at the group's offset."""

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        """Give the partitions up in order; what was ready has been written."""

    def write(self, handled: Sequence[Handled[Result_contra]], offsets: Offsets) -> None:
        """Store all results and the offsets, or nothing. Raises Rewind, OwnershipLost or an IndexerError."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """When a write is due: `results` are ready, or `seconds` passed since the first of them."""

    seconds: float = 0.2
    results: int = 500
    back_off_seconds: float = 0.5
    most_back_off_seconds: float = 5.0


@dataclass(slots=True)
class Progress:
    """What health and metrics read: written by the loop only."""

    last_turn: float = 0.0
    writes: int = 0
    written: int = 0
    rewinds: int = 0
    rejoins: int = 0
    assigned: set[TopicPartition] = field(default_factory=set)
    outage: str | None = None  # code of the error that holds us up
    seconds_waited: dict[str, float] = field(default_factory=lambda: {"input": 0.0, "work": 0.0, "write": 0.0})


class Pipeline(Generic[Result]):
    """One consumer. `run` returns when `stop` says so, after a last write."""

    def __init__(
        self,
        source: Source,
        handler: Handler[Result],
        sink: Sink[Result],
        clock: Callable[[], float],
        pace: Pace | None = None,
    ) -> None:
        self._source, self._handler, self._sink, self._clock = source, handler, sink, clock
        self._pace = pace or Pace()
        self._flight: InFlight[Handled[Result]] = InFlight()
        self._batch: list[Handled[Result]] = []  # ready, and not written yet
        self._due_at: float | None = None  # when the batch is to be written; None while nothing is ready
        self._failures = 0  # writes that failed in a row
        self._told: Rewind | OwnershipLost | None = None  # heard inside a callback, acted on after it
        self.progress = Progress()

    def run(self, stop: Callable[[], bool]) -> None:
        """Turn the loop until `stop`; then write what is ready and leave the group in order."""
        self._source.subscribe(self)
        try:
            while not stop():
                self.step()
        finally:
            self._source.close()  # revokes, and so writes what is ready
            self._sink.close()
            self._handler.close()

    def step(self) -> None:
        """Turn the loop once: poll, hand over, collect, write when due."""
        self._poll()
        self._collect()
        if self._told is None and self._due_at is not None and self._clock() >= self._due_at:
            self._try_to_write()
        if self._told is not None:
            self._start_over(self._told)
        self.progress.last_turn = self._clock()

    # the assignment, heard from inside poll: nothing here may raise

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        """Take partitions over; raises only what must end the process."""
        self.progress.assigned |= set(sources)
        return self._sink.assigned(sources)

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        self._try_to_write()
        self._drop(sources)
        self._sink.revoked(sources)

    def lost(self, sources: Collection[TopicPartition]) -> None:
        self._drop(sources)

    # the steps

    def _poll(self) -> None:
        started = self._clock()
        held_up = self._failures > 0
        idle = not self._flight and not self._batch
        records = self._source.poll(0 if held_up else self._handler.room(), 0.1 if idle or held_up else 0.0)
        if idle:
            self.progress.seconds_waited["input"] += self._clock() - started
        for record in records:
            self._flight.add(record)
        if records:
            self._handler.submit(records)

    def _collect(self) -> None:
        started = self._clock()
        waiting = bool(self._flight) and self._due_at is None
        for handled in self._handler.completed(0.02 if waiting else 0.0):
            self._flight.finish(handled.source, handled.offset, handled)
        if waiting:
            self.progress.seconds_waited["work"] += self._clock() - started
        if self._due_at is None and self._flight.has_ready():
            self._due_at = self._clock() + self._pace.seconds
        elif self._handler.room() <= 0 and self._failures == 0 and self._flight.has_ready():
            self._due_at = self._clock()

    def _try_to_write(self) -> None:
        started = self._clock()
        self._batch += self._flight.take_ready()
        self._due_at = None
        if not self._batch:
            return
        try:
            self._sink.write(self._batch, self._offsets())
        except (Rewind, OwnershipLost) as told:
            self._told = told
            return
        except (OutageError, TransientError) as error:
            self._wait(error)
            return
        self.progress.seconds_waited["write"] += self._clock() - started
        self.progress.writes += 1
        self.progress.written += len(self._batch)
        self.progress.outage, self._failures, self._batch = None, 0, []

    def _offsets(self) -> dict[TopicPartition, int]:
        offsets: dict[TopicPartition, int] = {}
        for source in {handled.source for handled in self._batch}:
            lowest = self._flight.lowest_unfinished(source)
            offset = self._source.position(source) if lowest is None else lowest
            if offset is not None:
                offsets[source] = offset
        return offsets

    def _wait(self, error: IndexerError) -> None:
        delay = min(self._pace.back_off_seconds * 2**self._failures, self._pace.most_back_off_seconds)
        self._failures += 1
        self._due_at = self._clock() + delay
        self.progress.outage = error.code

    def _start_over(self, told: Rewind | OwnershipLost) -> None:
        self._told = None
        if isinstance(told, Rewind):
            self._drop(set(self.progress.assigned), leave=False)
            self._source.rewind()
            self.progress.rewinds += 1
        else:
            self._drop(set(self.progress.assigned))
            self._source.rejoin()
            self.progress.rejoins += 1

    def _drop(self, sources: Collection[TopicPartition], *, leave: bool = True) -> None:
        gone = set(sources)
        self._flight.forget(gone)
        self._handler.forget(gone)
        self._batch = [handled for handled in self._batch if handled.source not in gone]
        if leave:
            self.progress.assigned -= gone
        if not self._batch:
            self._failures, self._due_at, self.progress.outage = 0, None, None
