"""Results and offsets in one PostgreSQL transaction: the pipeline's Sink, whatever the results are (PROTOCOL 2–4).

    assigned  end a frozen predecessor, raise the epoch, start at the stored offset
    write     compare-and-set on (epoch, remembered offset), then the rows, then commit; else nothing
    revoked   say that we gave it up

What is uncertain after a lost connection is looked up before anything else is written. In a silence all offsets are
looked at: a database that was restored while we run is filled up from Kafka although no record comes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Generic, Protocol, TypeVar

import psycopg

from indexer.clock import wall
from indexer.errors import FatalError, IndexerError, OutageError, PoisonError, TransientError
from indexer.inflight import TopicPartition
from indexer.pipeline import Handled, Offsets, OwnershipLost
from indexer.storage.engine import Connection
from indexer.storage.failures import Failure, failure_of, translated
from indexer.tally import Work
from services.persister.progress import Found, Progress

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class RefusedError(PoisonError):
    """One result cannot be written; `offset` of `source` says which."""

    def __init__(self, source: TopicPartition, offset: int, error: IndexerError) -> None:
        super().__init__(str(error), code=error.code)
        self.source, self.offset = source, offset


class Writer(Protocol[Result]):
    """What is written for the results; in a transaction that the sink begins and commits."""

    def connected(self) -> None:
        """A new connection: the database may be a restored one, so that nothing known of it holds."""

    def prepare(self, handled: Sequence[Handled[Result]]) -> None:
        """Do what must not happen inside the transaction."""

    def write(self, connection: Connection, handled: Sequence[Handled[Result]]) -> None:
        """Write the rows. Raises RefusedError when it knows which result has no room."""

    def set_aside(self, handled: Handled[Result], error: PoisonError) -> Handled[Result]:
        """Return a result that says that this one cannot be written."""


class Connections(Protocol):
    """Where connections come from."""

    def open(self) -> Connection:
        """Connect; raises OutageError."""

    def end_blockers(self, pid: int) -> None:
        """End what blocks back-end `pid`, if it is of our own service."""


class OffsetsSink(Generic[Result]):
    """Stores what `writer` writes together with the offsets of one consumer group."""

    def __init__(
        self,
        connections: Connections,
        progress: Progress,
        writer: Writer[Result],
        committed: Callable[[Sequence[Handled[Result]], Offsets], None],
        now: Callable[[], float] = wall,
        fault: Callable[[str], None] = lambda place: None,
        work: Work | None = None,
    ) -> None:
        self._work = work or Work()
        self._connections, self._progress, self._writer = connections, progress, writer
        self._committed, self._now, self._fault = committed, now, fault
        self._connection: Connection | None = None
        self._uncertain: Offsets | None = None  # the ends of a write whose fate is unknown
        self._doubted: Sequence[Handled[Result]] = ()  # what that write was to store, dead letters among it
        self.refused_writes = 0  # compare-and-sets that did not find what we remembered

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        """Raises OutageError or TransientError (again later), FatalError for a topic that was made anew."""
        self._no_longer_uncertain(sources)
        try:
            connection = self._open()
            starts = self._progress.take_over(
                connection, sources, int(self._now() * 1000), self._connections.end_blockers
            )
        except psycopg.Error as error:
            raise self._undone(error, "taking partitions over") from error
        except BaseException:
            self._roll_back()
            raise
        return starts

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        """Hand over in order; a database that is away does not hold the rebalance up."""
        self._no_longer_uncertain(sources)
        try:
            self._progress.hand_over(self._open(), sources)
        except (psycopg.Error, IndexerError) as error:
            log.warning("giving %d partitions up: %s", len(sources), type(error).__name__)
            self._drop_connection()
        finally:
            self._progress.forget(sources)

    def lost(self, sources: Collection[TopicPartition]) -> None:
        """Forget them: to look at what another moves would end in joining the group anew, again and again."""
        self._no_longer_uncertain(sources)
        self._progress.forget(sources)

    def write(self, handled: Sequence[Handled[Result]], offsets: Offsets) -> Sequence[Handled[Result]]:
        """Store all results and the offsets, or nothing; return what is stored, dead letters among it."""
        if not offsets:
            self._uncertain = {**self._progress.offsets(), **(self._uncertain or {})}
        written = self._settle()
        doubted = {(each.source, each.offset): each for each in self._doubted if written}
        handled = [doubted.get((each.source, each.offset), each) for each in handled]
        todo = [each for each in handled if each.offset >= written.get(each.source, 0)]
        busy = {each.source for each in todo}
        ends = {
            s: end
            for s, end in offsets.items()
            if s in busy or end != self._progress.owned_from(s) or self._progress.marker(s, end) is not None
        }
        if not ends:
            if written:
                self._committed(handled, offsets)
            return handled
        lap = self._work.stopwatch()
        self._writer.prepare(todo)
        lap("prepare")
        self._fault("persister.before-transaction")
        while True:
            try:
                self._attempt(todo, ends)
                break
            except RefusedError as refused:
                todo = self._set_aside(todo, refused.source, refused.offset, refused)
            except _BadRowError as bad:
                todo = self._without_bad_rows(todo, bad.error)
        self._fault("persister.between-commit-and-offset")
        stored = {(each.source, each.offset): each for each in todo}
        handled = [stored.get((each.source, each.offset), each) for each in handled]
        self._committed(handled, offsets)
        return handled

    def close(self) -> None:
        self._drop_connection()

    # one attempt

    def _attempt(self, handled: Sequence[Handled[Result]], ends: Offsets) -> None:
        """Write and commit; raises what the pipeline, or `write`, knows how to answer."""
        if any(source not in self._progress.owned for source in ends):
            raise OwnershipLost("a record of a partition that is not ours")
        connection = self._open()
        try:
            if not self._progress.compare_and_set(connection, ends):
                connection.rollback()
                self.refused_writes += 1
                self._uncertain = ends
                if self._settle():
                    return
                raise TransientError("the compare-and-set found nothing, a look finds our start", code="CAS_AGAIN")
            self._writer.write(connection, handled)
            self._fault("persister.between-copy-and-commit")
            self._uncertain, self._doubted = ends, handled
            lap = self._work.stopwatch()
            connection.commit()
            lap("commit")
        except psycopg.Error as error:
            self._answer(error, ends)
        except BaseException:
            self._roll_back()
            raise
        self._uncertain, self._doubted = None, ()
        self._progress.moved(ends)

    def _answer(self, error: psycopg.Error, ends: Offsets) -> None:
        """Return when the write turns out to be committed; raise otherwise."""
        kind = failure_of(error, self._connection)
        if kind is Failure.ROW:
            self._roll_back()
            self._uncertain = None
            raise _BadRowError(error) from error
        if kind is not Failure.LOST:
            failure = translated(error, "writing blocks")
            self._roll_back()
            self._uncertain = None
            raise failure from error
        log.warning("connection lost while writing: %s", str(error).split("\n", 1)[0])
        self._drop_connection()
        self._uncertain = ends
        if not self._settle():
            raise TransientError("the connection was lost before the commit", code="DATABASE_LOST") from error

    def _settle(self) -> Offsets:
        """Find out what became of a write whose fate is unknown; return its ends if it was committed.

        Raises OwnershipLost when the partitions are another's.
        """
        if self._uncertain is None:
            return {}
        written: Offsets = {}
        ends = {source: end for source, end in self._uncertain.items() if source in self._progress.owned}
        if ends:
            try:
                found = self._progress.look(self._open(), ends)
            except psycopg.Error as error:
                raise self._undone(error, "looking up what was written") from error
            if found is Found.FOREIGN:
                log.warning("%d partitions have another owner by now; joining the group anew", len(ends))
                self._uncertain = None
                raise OwnershipLost("consumer_progress has another epoch, or an offset that is not ours")
            if found is Found.WRITTEN:
                self._progress.moved(ends)
                written = ends
        self._uncertain = None
        return written

    def _no_longer_uncertain(self, sources: Collection[TopicPartition]) -> None:
        """Forget about partitions that change hands: what was written of them is read when they are taken over."""
        left = {source: end for source, end in (self._uncertain or {}).items() if source not in sources}
        self._uncertain = left or None

    # bad rows

    def _without_bad_rows(self, handled: list[Handled[Result]], error: psycopg.Error) -> list[Handled[Result]]:
        """Return `handled` with those set aside that cannot be written even alone."""
        log.warning("a row was refused, bisecting %d records: %s", len(handled), type(error).__name__)
        bad = self._bad_among(handled)
        if not bad:
            raise FatalError(f"rows that can be written one by one, but not together: {error}") from error
        for source, offset, reason in bad:
            handled = self._set_aside(handled, source, offset, reason)
        return handled

    def _bad_among(self, handled: Sequence[Handled[Result]]) -> list[tuple[TopicPartition, int, PoisonError]]:
        reason = self._probe(handled)
        if reason is None:
            return []
        if len(handled) == 1:
            return [(handled[0].source, handled[0].offset, reason)]
        middle = len(handled) // 2
        return self._bad_among(handled[:middle]) + self._bad_among(handled[middle:])

    def _probe(self, handled: Sequence[Handled[Result]]) -> PoisonError | None:
        """Write and roll back; return why it cannot be written."""
        connection = self._open()
        try:
            self._writer.write(connection, handled)
            return None
        except PoisonError as error:
            return error
        except psycopg.Error as error:
            found = translated(error, "writing", connection)
            if isinstance(found, PoisonError):
                return found
            raise found from error
        finally:
            self._roll_back()

    def _set_aside(
        self, handled: Sequence[Handled[Result]], source: TopicPartition, offset: int, reason: PoisonError
    ) -> list[Handled[Result]]:
        log.warning("%s[%d]@%d cannot be written: %s", source.topic, source.partition, offset, reason)
        return [
            self._writer.set_aside(each, reason) if (each.source, each.offset) == (source, offset) else each
            for each in handled
        ]

    # the connection

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            connection = self._connections.open()
            try:
                self._progress.record_backend(connection)
            except psycopg.Error as error:
                connection.close()
                raise translated(error, "recording our back-end", connection) from error
            self._writer.connected()
            self._connection = connection
        return self._connection

    def _undone(self, error: psycopg.Error, what: str) -> IndexerError:
        """Return our error for one before which nothing was at stake."""
        found = translated(error, what, self._connection)
        if isinstance(found, OutageError):
            self._drop_connection()
        else:
            self._roll_back()
        return found

    def _roll_back(self) -> None:
        try:
            if self._connection is not None:
                self._connection.rollback()
        except psycopg.Error:
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _BadRowError(Exception):
    def __init__(self, error: psycopg.Error) -> None:
        self.error: psycopg.Error = error
