"""The whole life of a consumer: poll → handle → write, with dead letters as ordinary results. Start reading here.

    source.poll() ──▶ handler.submit() ──▶ (fetch, prove, decode …) ──▶ handler.completed()
                                                                              │ in offset order per partition
    source.position() ──────────────▶ offsets ──▶ sink.write(results, offsets) ◀─ both or neither

Every service that consumes runs this loop and no other. A handler turns a record into a result, and a failure into
a result as well (a dead letter, a retry); a sink stores results and offsets in one transaction: a Kafka transaction
in the decoder, a PostgreSQL transaction in the persister. What goes wrong in a sink is told by the kind of its error:

- Rewind: nothing was written; the source goes back to what is committed and the records come again
- OwnershipLost: another process owns the partitions; leave the group and join anew
- OutageError, TransientError: hold up, stay in the group, try the very same write again with back-off
- anything else: the process ends, nothing committed
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from indexer.errors import IndexerError, OutageError, TransientError
from indexer.inflight import InFlight, Record, TopicPartition

log = logging.getLogger(__name__)

Offsets = Mapping[TopicPartition, int]


class Rewind(IndexerError):  # noqa: N818  # an order, not a mishap
    """The write was undone as a whole; consume again from the committed offsets."""

    code = "REWIND"


class OwnershipLost(IndexerError):  # noqa: N818
    """Somebody else owns a partition that we thought ours."""

    code = "OWNERSHIP_LOST"


Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Handled(Generic[Result_co]):
    """A record's fate: where it came from, and what is to be written for it."""

    source: TopicPartition
    offset: int
    result: Result_co
    size: int = 0  # bytes that the result occupies, for the limits of `Pace`
    urgent: bool = False  # of the chain's head: not to wait for company


class Listener(Protocol):
    """Told about the assignment from inside `Source.poll`, before the source acts on it."""

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets: ...
    def revoked(self, sources: Collection[TopicPartition]) -> None: ...
    def lost(self, sources: Collection[TopicPartition]) -> None: ...


class Source(Protocol):
    """A consumer of the group; `member` once it was told its part of the work, be it nothing, until it is given up."""

    member: bool

    def subscribe(self, listener: Listener) -> None: ...

    def poll(self, most: int, timeout: float) -> Sequence[Record]:
        """Return up to `most` records; with `most` 0 only keep the membership alive."""

    def position(self, source: TopicPartition) -> int | None:
        """Return where the next record is looked for, past transaction markers; None where that is not known yet."""

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


class Sink(Protocol[Result]):
    """Where results and offsets are stored together."""

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        """Take the partitions over and return where to start; a partition left out starts at the group's offset."""

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        """Give the partitions up in order; what was ready has been written."""

    def lost(self, sources: Collection[TopicPartition]) -> None:
        """Forget the partitions: they may be another's already."""

    def write(self, handled: Sequence[Handled[Result]], offsets: Offsets) -> Sequence[Handled[Result]]:
        """Store all results and the offsets, or nothing. Raises Rewind, OwnershipLost or an IndexerError.

        Returns what is stored: in place of a result that the store refuses a dead letter. Without results the offsets
        alone moved: past transaction markers, while nothing came. Without either it looks whether all is as it was
        left: a database that was restored meanwhile is not, and no record may come that would show it.
        """

    def close(self) -> None: ...


class Watch(Protocol):
    """Looks at what is stored, and may stop the polling."""

    def held(self) -> bool: ...
    def stored(self, results: Sequence[object]) -> None: ...


class Careful(Protocol):
    """Says when to take one record at a time; `marker`s go with the offsets that the sink stores."""

    def alone(self) -> bool: ...
    def take(self, record: Record) -> None: ...
    def done(self, source: TopicPartition, offset: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is collected before it is written, and how much is held at most."""

    seconds: float = 0.5  # between two writes, unless a limit is reached; the first after a silence does not wait
    urgent_seconds: float = 0.1  # the same while something urgent is ready
    company_seconds: float = 0.4  # after this long without a further record nothing is waited for
    results: int = 500  # most results in one write
    bytes: int = 16 * 1024 * 1024  # most bytes in one write; a single result may be larger
    under_way: int = 2_000  # most records polled and not written yet
    held_bytes: int = 48 * 1024 * 1024  # finished results above this stop the polling
    back_off_seconds: float = 0.5
    most_back_off_seconds: float = 5.0
    silence_seconds: float = 5.0  # after this long without work the positions are stored, or looked at


@dataclass(slots=True)
class Progress:
    """What health and metrics read: written by the loop only."""

    last_turn: float = 0.0
    last_moved: float = 0.0  # when something was stored, or nothing was in hand
    member: bool = False
    writes: int = 0
    written: int = 0
    rewinds: int = 0
    rejoins: int = 0
    assigned: set[TopicPartition] = field(default_factory=set)
    outage: str | None = None  # code of the error that holds us up
    held: bool = False  # nothing is taken until an operator says so: the dead-letter budget is spent
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
        *,
        watch: Watch | None = None,
        caution: Careful | None = None,
    ) -> None:
        self._source, self._handler, self._sink, self._clock = source, handler, sink, clock
        self._pace = pace or Pace()
        self._watch, self._caution = watch, caution
        self._marked: Record | None = None  # taken alone; handled once its marker is stored
        self._flight: InFlight[Handled[Result]] = InFlight()
        self._batch: list[Handled[Result]] = []  # what is being written; the same again after a failure
        self._offsets: dict[TopicPartition, int] = {}  # that go with the batch; empty while nothing is being written
        self._stored: dict[TopicPartition, int] = {}  # offsets that were written last
        self._due_at: float | None = None  # when the next write is to be tried; None while nothing is ready
        self._wrote_at = clock() - self._pace.seconds
        self._heard_at = clock()  # of the last record
        self._urgent = False  # something that is not written yet
        self._failures = 0  # in a row: of writing, or of starting over
        self._told: Rewind | OwnershipLost | None = None  # heard in a write, acted on between two steps
        self.progress = Progress(last_turn=clock(), last_moved=clock())

    def run(self, stop: Callable[[], bool]) -> None:
        """Turn the loop until `stop`; then write what is ready and leave the group in order."""
        try:
            self._source.subscribe(self)
            while not stop():
                self.step()
        except BaseException:
            self._drop(set(self.progress.assigned))  # closing must not write what an error left behind
            raise
        finally:
            self._close()

    def step(self) -> None:
        """Turn the loop once: poll, hand over, collect, write when due."""
        self._poll()
        self._collect()
        if self._told is None and self._due_at is not None and self._clock() >= self._due_at:
            self._write()
        if self._told is not None and (self._due_at is None or self._clock() >= self._due_at):
            self._start_over(self._told)
        self._tell_health()

    # the assignment, heard from inside poll

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        """Take partitions over; what the sink raises is the source's to handle: again later, or the end."""
        starts = self._sink.assigned(sources)
        self.progress.assigned |= set(sources)
        self._stored.update(starts)
        return starts

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        """Write what is ready, drop the rest: the next owner fetches it again."""
        while self._told is None and (self._offsets or self._flight.has_ready()) and self._write():
            pass  # a write has a limit, so there may be several
        self._drop(sources)
        self._sink.revoked(sources)

    def lost(self, sources: Collection[TopicPartition]) -> None:
        """Drop everything: somebody else may own the partitions already."""
        self._drop(sources)
        self._sink.lost(sources)

    # the steps

    def _poll(self) -> None:
        if self._marked is not None or (self._caution is not None and self._caution.alone()):
            self._poll_alone()
            return
        started = self._clock()
        idle = not self._flight.unfinished
        records = self._source.poll(self._room(), self._patience(0.1) if idle else 0.0)
        if idle:
            self.progress.seconds_waited["input"] += self._clock() - started
        for record in records:
            self._flight.add(record)
        if records:
            self._heard_at = self._clock()
            self._handler.submit(records)

    def _poll_alone(self) -> None:
        """Take one record, and hand it over when the marker that names it is stored."""
        assert self._caution is not None
        free = self._marked is None and not self._flight
        for record in self._source.poll(min(self._room(), 1) if free else 0, self._patience(0.1) if free else 0.0):
            self._flight.add(record)
            self._caution.take(record)
            self._marked, self._batch, self._offsets = record, [], {record.source: record.offset}
            self._try_to_store()
        if self._marked is not None and not self._offsets and self._told is None:
            record, self._marked = self._marked, None
            self._handler.submit([record])

    def _room(self) -> int:
        """Return how many records may be polled: none while we are held up or results pile up behind a slow one."""
        if self._watch is not None:
            self.progress.held = self._watch.held()
        if self.progress.held or self._failures or self._told or self._flight.finished_bytes >= self._pace.held_bytes:
            return 0
        return max(0, min(self._handler.room(), self._pace.under_way - len(self._flight)))

    def _patience(self, most: float) -> float:
        """Return how long to wait for something, at most until the next write is due."""
        return most if self._due_at is None else max(0.0, min(most, self._due_at - self._clock()))

    def _collect(self) -> None:
        started = self._clock()
        busy = self._flight.unfinished > 0
        for handled in self._handler.completed(self._patience(0.02) if busy else 0.0):
            self._flight.finish(handled.source, handled.offset, handled, handled.size)
            self._urgent = self._urgent or handled.urgent
        if busy:
            self.progress.seconds_waited["work"] += self._clock() - started
        self._look_when_due()

    def _look_when_due(self) -> None:
        if self._failures or self._told:
            return
        alone = self._caution is not None and self._caution.alone()
        full = alone or self._flight.finished >= self._pace.results or self._flight.finished_bytes >= self._pace.bytes
        if self._flight.has_ready():
            pause = 0.0 if full else self._pace.urgent_seconds if self._urgent else self._pace.seconds
            due_at = self._wrote_at + pause
            if not self._flight.unfinished:
                due_at = min(due_at, self._heard_at + self._pace.company_seconds)
            self._due_at = max(self._clock(), due_at)
        elif not self._flight and self._clock() - self._wrote_at >= self._pace.silence_seconds:
            self._write_positions()

    def _write(self) -> bool:
        """Write what failed last, or else what is ready; return whether it is stored."""
        started = self._clock()
        if not self._offsets:
            self._batch = self._flight.take_ready(self._pace.results, self._pace.bytes)
            self._offsets = self._offsets_after({handled.source for handled in self._batch})
        stored = self._try_to_store()
        self.progress.seconds_waited["write"] += self._clock() - started
        return stored

    def _write_positions(self) -> None:
        """Store where we are although nothing came: markers of transactions would look like lag for ever.

        Where nothing moved the sink looks whether its store is as we left it.
        """
        self._wrote_at = self._clock()
        now_at = self._offsets_after(self.progress.assigned)
        self._offsets = {source: offset for source, offset in now_at.items() if self._stored.get(source) != offset}
        self._try_to_store()

    def _try_to_store(self) -> bool:
        self._due_at = None
        try:
            self._batch = list(self._sink.write(self._batch, self._offsets))
        except (Rewind, OwnershipLost) as told:
            self._told, self._failures = told, 0
            return False
        except (OutageError, TransientError) as error:
            self._hold_up(error)
            return False
        self.progress.writes += 1 if self._offsets else 0
        self.progress.written += len(self._batch)
        self._stored.update(self._offsets)
        self._tell_stored()
        self._batch, self._offsets, self._urgent = [], {}, False
        self._wrote_at = self.progress.last_moved = self._clock()
        self._go_on()
        return True

    def _tell_stored(self) -> None:
        if self._watch is not None and self._batch:
            self._watch.stored([handled.result for handled in self._batch])
        if self._caution is not None:
            for handled in self._batch:
                self._caution.done(handled.source, handled.offset)

    def _tell_health(self) -> None:
        self.progress.last_turn = self._clock()
        self.progress.member = self._source.member
        if not self._flight and not self._offsets:
            self.progress.last_moved = self.progress.last_turn

    def _offsets_after(self, sources: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return what to commit: the lowest offset that still waits, or the position when none does."""
        offsets: dict[TopicPartition, int] = {}
        for source in sources:
            lowest = self._flight.lowest_waiting(source)
            offset = self._source.position(source) if lowest is None else lowest
            if offset is not None:
                offsets[source] = offset
        return offsets

    def _hold_up(self, error: IndexerError) -> None:
        longer = 2 ** min(self._failures, 30)  # an outage of hours fails a thousand times: 2**1024 is no number
        delay = min(self._pace.back_off_seconds * longer, self._pace.most_back_off_seconds)
        self._failures += 1
        self._due_at = self._clock() + delay
        self.progress.outage = error.code

    def _go_on(self) -> None:
        self._failures, self._due_at, self.progress.outage = 0, None, None

    def _start_over(self, told: Rewind | OwnershipLost) -> None:
        log.info("starting over: %s", told)
        try:
            if isinstance(told, Rewind):
                self._drop(set(self.progress.assigned), leave=False)
                self._source.rewind()
                self.progress.rewinds += 1
            else:
                self._drop(set(self.progress.assigned))
                self._source.rejoin()
                self.progress.rejoins += 1
        except (OutageError, TransientError) as error:
            self._hold_up(error)
            return
        self._told = None
        self._go_on()

    def _drop(self, sources: Collection[TopicPartition], *, leave: bool = True) -> None:
        gone = set(sources)
        if self._marked is not None and self._marked.source in gone:
            self._marked = None
        self._flight.forget(gone)
        self._handler.forget(gone)
        self._batch = [handled for handled in self._batch if handled.source not in gone]
        self._offsets = {source: offset for source, offset in self._offsets.items() if source not in gone}
        self._stored = {source: offset for source, offset in self._stored.items() if source not in gone}
        if leave:
            self.progress.assigned -= gone
        if not self._offsets and self._told is None:
            self._go_on()

    def _close(self) -> None:
        """Leave the group, which revokes and so writes what is ready; then let go of the rest, whatever happened."""
        try:
            self._source.close()
        finally:
            try:
                self._sink.close()
            finally:
                self._handler.close()
