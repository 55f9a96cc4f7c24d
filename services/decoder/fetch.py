"""The pipeline's Handler: work items are fetched in batches on another thread, and decoded here in small slices.

A work item waits for a batch, is asked for, arrives (or fails), is decoded, and is handed out with its outputs. All of
these are bounded together: by blocks, and by the bytes of the answers that are asked for or held.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from indexer.clock import wall_ms
from indexer.errors import FatalError, IndexerError, OutageError, PoisonError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.outputs import Output
from indexer.pipeline import Handled
from indexer.rpc.fetch import Fetched, Wanted
from indexer.tally import Stopwatch, Tally
from services.decoder.handler import Decoder, Refusal, Task

Outputs = Sequence[Output]

_SLICE_SECONDS = 0.02  # of decoding, then the group membership and the commit have their turn
_GATHER_SECONDS = 0.01  # that a batch may wait to become full while requests are under way
_ASK_AGAIN_SECONDS = 1.0
_OUTAGE_SECONDS = 1.0
_FIRST_BATCH = 8  # blocks, while nobody knows how large a block is
_NOBODY: frozenset[str] = frozenset()


class InFlight(Protocol):
    @property
    def requests(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class Fetcher(Protocol):
    """What is used of indexer.rpc.facade.BlockFetcher."""

    @property
    def in_flight(self) -> InFlight: ...

    def submit(
        self, key: Hashable, wanted: Sequence[Wanted], *, exclude: AbstractSet[str] = ..., urgent: bool = ...
    ) -> bool: ...

    def completed(self, timeout: float) -> list[tuple[Hashable, list[Fetched | IndexerError]]]: ...

    def room(self) -> int: ...

    def suggested_batch(self) -> int: ...

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Flight:
    """A work item on its way."""

    task: Task
    tried: frozenset[str] = _NOBODY  # endpoints whose answers were refused
    refusal: Refusal | None = None
    alive: bool = True  # False once its partition left

    @property
    def urgent(self) -> bool:
        return self.task.item.reason.is_urgent


class BlockHandler:
    """From work items to outputs, many at a time."""

    def __init__(
        self,
        decoder: Decoder,
        fetcher: Fetcher,
        *,
        window: int,
        window_bytes: int,
        endpoints: int,
        clock: Callable[[], float] = time.perf_counter,
        now_ms: Callable[[], int] = wall_ms,
        judge: Callable[[Record], PoisonError | None] = lambda record: None,
    ) -> None:
        self._decoder, self._fetcher, self._endpoints = decoder, fetcher, endpoints
        self._window, self._window_bytes = window, window_bytes
        self._clock, self._now_ms, self._judge = clock, now_ms, judge
        self._flights: dict[TopicPartition, dict[int, _Flight]] = {}
        self._waiting: deque[_Flight] = deque()
        self._waiting_since = 0.0
        self._later: list[tuple[float, _Flight]] = []
        self._asked: dict[int, list[_Flight]] = {}
        self._batches = 0
        self._arrived: deque[tuple[_Flight, Fetched | IndexerError]] = deque()
        self._arrived_bytes = 0
        self._knows_sizes = False
        self._done: list[Handled[Outputs]] = []
        self.outage: str | None = None  # code of what keeps every endpoint from answering
        self.tally = Tally()

    # Handler

    def submit(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                if (condemned := self._judge(record)) is not None:
                    raise condemned
                flight = _Flight(self._decoder.read(record))
            except PoisonError as error:
                self.tally.failures[error.code] += 1
                letter = self._decoder.unreadable(record, error, self._now_ms())
                self._done.append(Handled(record.source, record.offset, (letter,), letter.size))
                continue
            self._flights.setdefault(record.source, {})[record.offset] = flight
            self._wait(flight)

    def completed(self, timeout: float) -> Sequence[Handled[Outputs]]:
        self._wake()
        self._ask()
        if not self._arrived:
            self._collect(0.0 if self._done else timeout)
            self._ask()
        self._work()
        done, self._done = self._done, []
        return done

    def room(self) -> int:
        return self._window - sum(map(len, self._flights.values()))

    def forget(self, sources: Collection[TopicPartition]) -> None:
        for source in sources:
            for flight in self._flights.pop(source, {}).values():
                flight.alive = False
        gone = set(sources)
        self._waiting = deque(flight for flight in self._waiting if flight.alive)
        self._later = [(at, flight) for at, flight in self._later if flight.alive]
        self._done = [each for each in self._done if each.source not in gone]
        if not any(self._flights.values()):
            self.outage = None  # nobody asks any more

    def close(self) -> None:
        self._fetcher.close()

    # asking

    def _wait(self, flight: _Flight) -> None:
        if not self._waiting:
            self._waiting_since = self._clock()
        self._waiting.append(flight)

    def _wake(self) -> None:
        """Ask again for what was put off."""
        now = self._clock()
        due = [flight for at, flight in self._later if at <= now]
        if due:
            self._later = [(at, flight) for at, flight in self._later if at > now]
            for flight in due:
                self._wait(flight)

    def _ask(self) -> None:
        """Send batches off while there is room for their answers."""
        while self._waiting:
            held = self._fetcher.in_flight
            if (held.requests or self._arrived) and (
                held.bytes + self._arrived_bytes >= self._window_bytes or not self._knows_sizes
            ):
                return
            if self._fetcher.room() == 0:
                return
            size = self._fetcher.suggested_batch() if self._knows_sizes else _FIRST_BATCH
            patient = self._clock() - self._waiting_since < _GATHER_SECONDS
            if len(self._waiting) < size and held.requests > 1 and patient:
                return
            self._send(self._batch(size))

    def _batch(self, most: int) -> list[_Flight]:
        """Take waiting items that can be asked for together: as urgent as the first, of the same endpoints."""
        first = self._waiting.popleft()
        batch = [first]
        while self._waiting and len(batch) < most:
            flight = self._waiting[0]
            if flight.urgent != first.urgent or flight.tried != first.tried:
                break
            batch.append(self._waiting.popleft())
        self._waiting_since = self._clock()
        return batch

    def _send(self, batch: list[_Flight]) -> None:
        self._batches += 1
        self._asked[self._batches] = batch
        wanted = [Wanted(flight.task.item.number, flight.task.item.expected_hash) for flight in batch]
        tried = batch[0].tried
        exclude = tried if len(tried) < self._endpoints else _NOBODY
        if not self._fetcher.submit(self._batches, wanted, exclude=exclude, urgent=batch[0].urgent):
            raise FatalError("the fetcher took nothing although it had room", code="INTERNAL")

    def _collect(self, timeout: float) -> None:
        started = self._clock()
        for key, results in self._fetcher.completed(timeout):
            flights = self._asked.pop(key)  # type: ignore[call-overload]  # our own key, an int
            for flight, result in zip(flights, results, strict=True):
                if not flight.alive:
                    continue
                self._arrived.append((flight, result))
                if isinstance(result, Fetched):
                    self._knows_sizes = True
                    self._arrived_bytes += result.size
        if self._asked or self._arrived:
            self.tally.seconds["fetch"] += self._clock() - started

    # settling

    def _work(self) -> None:
        """Settle what arrived, at least one, for as long as a slice lasts."""
        until = self._clock() + _SLICE_SECONDS
        while self._arrived:
            flight, result = self._arrived.popleft()
            if isinstance(result, Fetched):
                self._arrived_bytes -= result.size
            if flight.alive:
                self._settle(flight, result)
            if self._clock() >= until:
                return

    def _settle(self, flight: _Flight, result: Fetched | IndexerError) -> None:
        if isinstance(result, Fetched):
            self.outage = None
            answer = self._decoder.decode(flight.task, result, Stopwatch(self._clock, self.tally.seconds))
            if isinstance(answer, Refusal):
                self._refused(flight, answer, result.endpoint)
            else:
                item = flight.task.item
                self.tally.block(item.number, answer.size, item.job_id)
                self._finish(flight, (answer,))
        elif isinstance(result, FatalError):
            raise result
        elif flight.refusal is not None:
            self._doubt(flight, flight.refusal)
        elif isinstance(result, OutageError):
            self.outage = result.code
            self._later.append((self._clock() + _OUTAGE_SECONDS, flight))
        else:
            self.outage = None
            self._fail(flight, result, "fetch")

    def _refused(self, flight: _Flight, refusal: Refusal, endpoint: str) -> None:
        """Ask elsewhere for a block that is not genuine, a lone endpoint once more; then it is dead."""
        asked_before = flight.refusal is not None
        flight.tried |= {endpoint}
        flight.refusal = refusal
        if not refusal.may_be_the_nodes_fault:
            self._fail(flight, refusal.error, refusal.stage)
        elif len(flight.tried) < self._endpoints:
            self._wait(flight)
        elif self._endpoints == 1 and not asked_before:
            self._later.append((self._clock() + _ASK_AGAIN_SECONDS, flight))
        else:
            self._fail(flight, refusal.error, refusal.stage)

    def _doubt(self, flight: _Flight, refusal: Refusal) -> None:
        """One endpoint's block was refused and no other could be asked: nothing is proven, try again later."""
        text = f"{refusal.error} (and no other endpoint could be asked)"
        self._fail(flight, TransientError(text, code=refusal.error.code), refusal.stage)

    def _fail(self, flight: _Flight, error: IndexerError, stage: str) -> None:
        self.tally.failures[error.code] += 1
        self._finish(flight, self._decoder.failed(flight.task, error, stage, self._now_ms()))

    def _finish(self, flight: _Flight, outputs: Outputs) -> None:
        record = flight.task.record
        size = sum(output.size for output in outputs)
        self._flights[record.source].pop(record.offset)
        self._done.append(Handled(record.source, record.offset, outputs, size, flight.urgent))
