"""Outputs and input offsets in one Kafka transaction per write (KIP-98, KIP-447): both are seen, or neither.

What each answer of Kafka means, and what is done (DESIGN 4):

- retriable, or a time-out: poll, the same call again, until the transaction's time is up
- the transaction must be aborted: flush, abort, `Rewind`
- fatal, fenced, an invalid state while aborting, or no definite answer in time: nobody knows what became of the
  transaction, and a late request may still hit the next one (librdkafka lacks KIP-890): a new producer under the same
  id, which ends whatever was open, then `Rewind`. More than three of these in a minute end the process.

Brokers of Kafka 4.1 and later may end a transaction without its markers in partitions that have no leader at that
moment (KAFKA-20734; a single broker that is killed and comes back). What it wrote there hangs: the group's offsets
cannot be read, and the next transaction of the same producer id decides over its records. A marker of another one ends
what hangs. So a new producer, and one that starts, aborts one that touches the offsets; when inputs come again, their
transaction does not count, and one is aborted where its records are, unless something that counts may hang there too.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from indexer import faults
from indexer.errors import FatalError, OutageError
from indexer.inflight import TopicPartition
from indexer.kafka.config import TRANSACTION_SECONDS, Config
from indexer.kafka.patience import within
from indexer.outputs import Output
from indexer.pipeline import Handled, Offsets, Rewind

log = logging.getLogger(__name__)

_CALL_SECONDS = 2.0  # of one try; the same call resumes
_OPEN_SECONDS = 5.0
_MOST_REPLACED = 3
_MOST_LOST = 8  # transactions that are kept in mind: their partitions may be another's for good
_REPLACED_WITHIN = 60.0
_PURGED = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # our own doing, while aborting


class _AbortError(Exception):
    """The transaction has to be aborted."""


class _UndecidedError(Exception):
    """Nobody knows what became of the transaction, or of its producer."""


@dataclass(frozen=True, slots=True)
class _Write:
    """What is to be known of a transaction when it may hang."""

    inputs: frozenset[tuple[TopicPartition, int]]
    to: frozenset[TopicPartition]
    offsets: Sequence[KafkaPartition]
    metadata: bytes

    @property
    def sources(self) -> set[TopicPartition]:
        return {source for source, _ in self.inputs}


class KafkaTransactionSink:
    """A Sink whose results are outputs; one transactional producer for all partitions of the process."""

    def __init__(
        self,
        config: Config,
        group_metadata: Callable[[], bytes],
        *,
        now: Callable[[], float] = time.monotonic,
        make: Callable[[dict[str, Any]], Any] = Producer,
        seconds: float = TRANSACTION_SECONDS,
        service: str = "decoder",  # what its places for faults are called
        describe: Callable[[TopicPartition, int], str] = lambda source, offset: "",  # an offset's metadata
    ) -> None:
        self._config, self._group_metadata, self._now, self._make = config, group_metadata, now, make
        self._seconds, self._service, self._describe = seconds, service, describe
        self._replaced: deque[float] = deque(maxlen=_MOST_REPLACED + 1)
        self._refused: str | None = None  # why Kafka will never take a record of this transaction
        self._producer: Any = None  # None: the last one was given up, and its transaction with it
        self._open_transaction = False
        self._under_way: list[_Write] = []  # the last one that was committed, and the one that is being written
        self._lost: list[_Write] = []  # were under way when their producer was given up; not known to count or not
        self._rewind_due = False  # a new producer took over, and who writes has not been told
        self._offsets_ended = False  # what a predecessor left hanging in the group's offsets
        self.aborted = 0
        self.replaced = 0
        self._open(max(self._seconds, _OPEN_SECONDS))

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        """Every partition starts at the group's offset, which is to be readable. Raises OutageError."""
        if self._producer is None:
            self._replace()
            self._rewind_due = True  # what is held for other partitions may have been committed
        if not self._offsets_ended and sources:
            self._end_offsets([KafkaPartition(*source, 0) for source in sources], self._group_metadata())
            self._offsets_ended = True
        return {}

    def revoked(self, sources: Iterable[TopicPartition]) -> None:
        """Nothing is kept for a partition."""

    def lost(self, sources: Iterable[TopicPartition]) -> None:
        """Nothing is kept for a partition."""

    def write(
        self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets
    ) -> Sequence[Handled[Sequence[Output]]]:
        """Commit all outputs and the offsets in one transaction.

        Raises Rewind when nothing of it was committed, or when that is not known: the committed offsets tell.
        Raises OutageError while no broker answers, FatalError where trying again cannot help.
        """
        if self._producer is None:
            self._replace()
            self._rewind_due = True
        if self._rewind_due:
            self._rewind_due = False
            raise Rewind("a new producer took over from one in an unknown state")
        if not offsets:
            return handled  # Kafka's offsets are the ones that we go by
        metadata = self._group_metadata()  # before anything is produced: it belongs to the partitions we own now
        faults.hook(f"{self._service}.before-transaction")
        write = self._described(handled, offsets, metadata)
        if decided := [lost for lost in self._lost if lost.sources & write.sources]:
            self._end_records(write)
            self._lost = [lost for lost in self._lost if lost not in decided]
        self._under_way = [*self._under_way[-1:], write]
        try:
            self._commit(handled, write)
        except _AbortError as error:
            self._abort(error)
            raise Rewind(f"transaction aborted: {error}") from error
        except _UndecidedError as error:
            self._give_up(error)
            self._replace()
            raise Rewind(f"transaction in an unknown state: {error}") from error
        faults.hook(f"{self._service}.after-commit")
        return handled

    def close(self) -> None:
        """Let go of the producer; an error may have left its transaction open, which would hold up every reader."""
        if self._producer is not None and self._open_transaction:
            try:
                self._producer.purge()
                self._producer.flush(_CALL_SECONDS)
                self._producer.abort_transaction(_CALL_SECONDS)
            except KafkaException as error:
                log.info("the open transaction was not aborted: %s", error)
        self._producer = None

    def _described(self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets, metadata: bytes) -> _Write:
        partitions = [
            KafkaPartition(*source, offset, self._describe(source, offset)) for source, offset in offsets.items()
        ]
        to = {TopicPartition(output.topic, output.partition) for each in handled for output in each.result}
        return _Write(frozenset((each.source, each.offset) for each in handled), frozenset(to), partitions, metadata)

    def _commit(self, handled: Sequence[Handled[Sequence[Output]]], write: _Write) -> None:
        deadline = self._now() + self._seconds
        self._refused = None
        self._open_transaction = True
        self._call(deadline, self._producer.begin_transaction)
        for each in handled:
            for output in each.result:
                self._produce(output, deadline)
        self._send_offsets(deadline, write.offsets, write.metadata)
        while self._asked(self._producer.flush, _CALL_SECONDS) and self._now() < deadline:
            pass
        faults.hook(f"{self._service}.between-produce-and-commit")
        self._call(deadline, self._producer.commit_transaction, _CALL_SECONDS)
        self._open_transaction = False

    def _send_offsets(self, deadline: float, offsets: Sequence[KafkaPartition], metadata: bytes) -> None:
        """Hand the offsets to the transaction.

        The call may ignore its time and never return after a broker was away (librdkafka issues 5456 and 5511), and
        who never polls holds his whole group up. So it is left behind in the end; its producer is fenced by the next.
        """
        send = self._producer.send_offsets_to_transaction
        left = max(deadline - self._now(), _CALL_SECONDS)
        try:
            within(left, self._call, deadline, send, list(offsets), metadata, _CALL_SECONDS)
        except TimeoutError as error:
            raise _UndecidedError(f"sending offsets: {error}") from None

    def _produce(self, output: Output, deadline: float) -> None:
        while True:
            try:
                self._producer.produce(
                    output.topic, output.value, output.key, partition=output.partition, headers=list(output.headers)
                )
            except BufferError:
                if self._now() > deadline:
                    raise _UndecidedError("the producer's queue stays full") from None
                self._asked(self._producer.poll, 0.1)
                continue
            except KafkaException as error:
                self._note(error.args[0], output.topic)
                raise _fate(error.args[0]) from error
            return

    def _call(self, deadline: float, call: Callable[..., Any], *arguments: Any) -> None:
        """Make a transactional call until it has a definite answer or the time is up."""
        while True:
            try:
                call(*arguments)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                again = error.retriable() or error.code() == KafkaError._TIMED_OUT
                if not again or error.fatal() or error.txn_requires_abort():
                    raise _fate(error) from exception
                if self._now() >= deadline:
                    raise _UndecidedError(f"no definite answer in time: {error.str()}") from exception
                self._asked(self._producer.poll, 0.05)  # "the event queue must be polled"
                continue
            return

    def _asked(self, call: Callable[[float], Any], seconds: float) -> Any:
        """Poll or flush, which raise once the producer is dead."""
        try:
            return call(seconds)
        except KafkaException as error:
            raise _fate(error.args[0]) from error

    def _abort(self, reason: _AbortError) -> None:
        """Undo the transaction; flushed first, else librdkafka may end in a fatal INVALID_TXN_STATE."""
        deadline = self._now() + self._seconds
        try:
            self._asked(self._producer.flush, _CALL_SECONDS)
            self._call(deadline, self._producer.abort_transaction, _CALL_SECONDS)
            self._open_transaction = False
            self.aborted += 1
            log.info("transaction aborted: %s", reason)
        except (_AbortError, _UndecidedError) as error:
            self._give_up(error)
            self._replace()
        if self._refused is not None:
            raise FatalError(self._refused, code="RECORD_REFUSED")

    def _give_up(self, error: Exception) -> None:
        log.warning("giving the producer up: %s", error)
        self._producer.purge()  # not polled any more: a dead producer raises from poll too
        self._producer, self._open_transaction = None, False
        self._lost, self._under_way = [*self._lost, *self._under_way][-_MOST_LOST:], []

    def _replace(self) -> None:
        self._open(_OPEN_SECONDS)
        self.replaced += 1
        self._replaced.append(self._now())
        if len(self._replaced) > _MOST_REPLACED and self._replaced[-1] - self._replaced[0] < _REPLACED_WITHIN:
            raise FatalError(
                f"{len(self._replaced)} producers were lost within {_REPLACED_WITHIN:g} s:"
                " is another process running under the same slot?",
                code="TRANSACTIONS_FAIL",
            )
        if self._lost:
            self._end_offsets(self._lost[-1].offsets, self._lost[-1].metadata)

    def _end_offsets(self, offsets: Sequence[KafkaPartition], metadata: bytes) -> None:
        """End a transaction that may hang in the partition of the group's offsets, which is one for all."""
        self._abort_another(lambda deadline: self._send_offsets(deadline, offsets, metadata))

    def _end_records(self, write: _Write) -> None:
        """End lost transactions in the partitions of their records when this write has their inputs again.

        It tells of those that have a source in common with it, whose inputs come in order: theirs first, or none.
        """
        void = [lost for lost in self._lost if lost.inputs & write.inputs]
        counts = [lost for lost in self._lost if lost not in void]
        partitions = {to for lost in void for to in lost.to} - {to for lost in counts for to in lost.to}

        def touch(deadline: float) -> None:
            for partition in partitions:
                self._produce(Output(*partition, key=b"", value=b""), deadline)

        if partitions:
            self._abort_another(touch)

    def _abort_another(self, touch: Callable[[float], None]) -> None:
        """Abort a transaction that touches what hangs, which ends both. Raises OutageError where nothing ends."""
        deadline = self._now() + self._seconds
        self._open_transaction = True
        try:
            self._call(deadline, self._producer.begin_transaction)
            with suppress(_AbortError):  # offsets of a group that went on: touched all the same
                touch(deadline)
            self._asked(self._producer.flush, _CALL_SECONDS)
            self._call(deadline, self._producer.abort_transaction, _CALL_SECONDS)
            self._open_transaction = False
        except (_AbortError, _UndecidedError) as error:
            self._give_up(error)
            raise OutageError(f"Kafka does not end a lost transaction: {error}", code="KAFKA_DOWN") from error

    def _open(self, seconds: float) -> None:
        """Make a producer; its first call ends what a predecessor under the same id left open."""
        producer = self._make({**self._config, "on_delivery": self._delivered, "delivery.report.only.error": True})
        deadline = self._now() + seconds
        self._producer = producer
        try:
            self._call(deadline, producer.init_transactions, _CALL_SECONDS)
        except _UndecidedError as error:
            self._producer = None
            raise OutageError(f"Kafka gives no transactional producer: {error}", code="KAFKA_DOWN") from error
        except _AbortError as error:
            self._producer = None
            raise FatalError(f"Kafka refuses a transactional producer: {error}", code="TRANSACTIONS_REFUSED") from error

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() not in _PURGED:
            self._note(error, str(message.topic()))

    def _note(self, error: KafkaError, topic: str) -> None:
        """Keep the reason of what would fail for ever: sizes were checked before, so limits do not fit each other."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._refused = f"{topic} does not take a record of the allowed size: run `indexer topics diff`"
        log.info("%s: %s", topic, error.str())


def _fate(error: KafkaError) -> _AbortError | _UndecidedError:
    text = f"{error.name()}: {error.str()}"
    if error.fatal() or error.code() in (KafkaError._FENCED, KafkaError.INVALID_TXN_STATE):
        return _UndecidedError(text)
    if error.txn_requires_abort():
        return _AbortError(text)
    return _AbortError(text) if error.code() in _ABORTABLE else _UndecidedError(text)


_ABORTABLE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._STATE, KafkaError._INVALID_ARG)
