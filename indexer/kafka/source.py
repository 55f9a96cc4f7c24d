"""A group member as the pipeline's Source: assignment, priorities, due times, rewinding; all on one thread."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from indexer.errors import FatalError, OutageError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.kafka.config import Config
from indexer.pipeline import Listener, Offsets

log = logging.getLogger(__name__)

_BUFFERED = 256  # records of one topic kept beside librdkafka's queue, so that priorities can choose
_TAKE_OVER_RETRY_SECONDS = 1.0
_LOOK_AGAIN = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)


class KafkaSource:
    """Consumes `topics`, the earlier ones preferred by weight; records that are not due yet wait on the broker.

    Classic `range` is eager: everything is revoked and assigned anew. Cooperative-sticky and KIP-848 are incremental.
    The client does not tell which is on, so `incremental` must say it.
    """

    def __init__(
        self,
        config: Config,
        topics: Mapping[str, int],
        *,
        incremental: bool,
        due_ms: Callable[[Record], int] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._weights, self._incremental = config, dict(topics), incremental
        self._due_ms, self._now = due_ms, now
        self._listener: Listener | None = None
        self._consumer = Consumer(config)
        self._buffers: dict[str, deque[Record]] = {topic: deque() for topic in topics}
        self._owned: set[TopicPartition] = set()
        self._untaken: set[TopicPartition] = set()  # assigned, but the listener could not take them over yet
        self._returned: dict[TopicPartition, int] = {}  # offset after the last record handed out
        self._full: set[str] = set()  # topics paused because their buffer is full
        self._held: dict[TopicPartition, int] = {}  # paused until this time (Unix ms)
        self._take_over_at = 0.0
        self._in_callback = False
        self._fatal: Exception | None = None
        self.metadata: object | None = None  # of the group, as it was when the assignment was heard
        self.rebalances = 0

    # what the pipeline calls

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        self._consumer.subscribe(
            list(self._weights), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, most: int, timeout: float) -> Sequence[Record]:
        self._take_over_again()
        self._resume_due()
        self._fill(timeout if most <= 0 or not any(self._buffers.values()) else 0.0, most)
        if self._fatal is not None:
            raise self._fatal
        chosen = self._choose(most)
        for record in chosen:
            self._returned[record.source] = record.offset + 1
        self._resume_emptied()
        return chosen

    def position(self, source: TopicPartition) -> int | None:
        returned = self._returned.get(source)
        if self._in_callback or any(r.source == source for r in self._buffers[source.topic]):
            return returned  # the client's own position is ahead of what we handed out
        try:
            position = self._consumer.position([KafkaPartition(*source)])[0].offset
        except KafkaException:
            return returned
        return max(position, returned) if returned is not None and position >= 0 else returned

    def group_metadata(self) -> object:
        """Return what fences a transaction's offsets (KIP-447).

        Taken when the assignment was heard, never fresh under the classic protocol: a member that was thrown out
        has empty metadata, which a broker accepts. Under KIP-848 the epoch moves without an assignment.
        """
        if self._config.get("group.protocol") == "consumer" or self.metadata is None:
            self.metadata = self._consumer.consumer_group_metadata()
        return self.metadata

    def rewind(self) -> None:
        """Seek everything we own to the committed offsets; waits for pending transactions."""
        self._empty(self._owned)
        for source, offset in self._committed(self._owned - self._untaken, within=60).items():
            self._seek(source, offset)

    def rejoin(self) -> None:
        """Leave the group and come back as a new member."""
        listener = self._listener
        assert listener is not None
        self.close()
        self._empty(self._owned)
        self._owned, self._untaken, self._returned = set(), set(), {}
        self._full, self._held, self.metadata = set(), {}, None
        self._consumer = Consumer(self._config)
        self.subscribe(listener)

    def commit_for_lag_tools(self, offsets: Offsets) -> None:
        """Show positions to Kafka's lag tools; the truth is elsewhere, so a failure does not matter."""
        partitions = [KafkaPartition(*source, offset) for source, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=partitions, asynchronous=True)
        except KafkaException as error:
            log.info("offsets for lag tools not committed: %s", error)

    def close(self) -> None:
        self._in_callback = True
        try:
            self._consumer.close()
        finally:
            self._in_callback = False

    def _committed(self, sources: Collection[TopicPartition], within: float) -> dict[TopicPartition, int]:
        """Return the group's stable offsets, the beginning where there is none; waits for pending transactions."""
        partitions = [KafkaPartition(*source) for source in sources]
        deadline = self._now() + within
        while partitions:
            try:
                found = self._consumer.committed(partitions, timeout=5)
            except KafkaException as error:
                if self._now() > deadline:
                    raise OutageError(f"reading committed offsets: {error.args[0].str()}", code="KAFKA_DOWN") from error
                continue
            return {
                TopicPartition(p.topic, p.partition): p.offset if p.offset >= 0 else OFFSET_BEGINNING for p in found
            }
        return {}

    # polling

    def _fill(self, timeout: float, most: int) -> None:
        wanted = max(most, 1)
        while True:
            message = self._consumer.poll(timeout)
            timeout = 0.0
            if message is None or self._fatal is not None:
                return
            error = message.error()
            if error is not None:
                self._on_error(message, error)
                continue
            record = _record(message)
            if record.source not in self._owned or self._not_due(record):
                continue
            buffer = self._buffers[record.topic]
            buffer.append(record)
            if len(buffer) >= _BUFFERED:
                self._pause_topic(record.topic)
            if sum(map(len, self._buffers.values())) >= wanted and len(self._weights) == 1:
                return

    def _choose(self, most: int) -> list[Record]:
        chosen: list[Record] = []
        while len(chosen) < most and any(self._buffers.values()):
            for topic, weight in self._weights.items():
                buffer = self._buffers[topic]
                for _ in range(min(weight, len(buffer), most - len(chosen))):
                    chosen.append(buffer.popleft())
        return chosen

    def _on_error(self, message: Message, error: KafkaError) -> None:
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError._NO_OFFSET) and message.partition() is not None:
            source = TopicPartition(str(message.topic()), int(message.partition() or 0))
            log.warning("%s[%d]: that offset is gone, starting at the oldest record", source.topic, source.partition)
            self._seek(source, OFFSET_BEGINNING)
        elif error.fatal():
            raise FatalError(f"Kafka consumer: {error.str()}", code="KAFKA_CONSUMER_FATAL")
        elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            raise FatalError(f"{error.str()}: run `indexer topics apply`", code="TOPIC_MISSING")
        elif error.code() not in _LOOK_AGAIN:
            log.warning("Kafka consumer: %s", error.str())

    # pausing

    def _not_due(self, record: Record) -> bool:
        """Put a record back whose time has not come: seek to it, pause its partition, hand out nothing beyond it."""
        if self._due_ms is None:
            return False
        due = self._due_ms(record)
        if due <= self._now() * 1000:
            return False
        self._held[record.source] = due
        self._pause([record.source])
        self._seek(record.source, record.offset)
        return True

    def _resume_due(self) -> None:
        now = self._now() * 1000
        due = [source for source, until in self._held.items() if until <= now]
        for source in due:
            del self._held[source]
        self._resume(source for source in due if source.topic not in self._full)

    def _pause_topic(self, topic: str) -> None:
        self._full.add(topic)
        self._pause([source for source in self._owned if source.topic == topic])

    def _resume_emptied(self) -> None:
        for topic in [topic for topic in self._full if len(self._buffers[topic]) <= _BUFFERED // 2]:
            self._full.discard(topic)
            self._resume(source for source in self._owned if source.topic == topic and source not in self._held)

    def _pause(self, sources: Collection[TopicPartition]) -> None:
        self._consumer.pause([KafkaPartition(*source) for source in sources])

    def _resume(self, sources: Any) -> None:
        partitions = [KafkaPartition(*source) for source in sources if source in self._owned - self._untaken]
        if partitions:
            self._consumer.resume(partitions)

    def _seek(self, source: TopicPartition, offset: int) -> None:
        try:
            self._consumer.seek(KafkaPartition(*source, offset))
        except KafkaException as error:
            raise TransientError(f"seeking {source.topic}[{source.partition}]: {error.args[0].str()}") from error

    def _empty(self, sources: Collection[TopicPartition]) -> None:
        """Drop what is buffered and remembered of these partitions."""
        for topic, buffer in self._buffers.items():
            self._buffers[topic] = deque(record for record in buffer if record.source not in sources)
        for source in sources:
            self._returned.pop(source, None)

    # the assignment

    def _on_assign(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        self.rebalances += 1
        sources = {TopicPartition(p.topic, p.partition) for p in partitions}
        with _Inside(self):
            self.metadata = self._consumer.consumer_group_metadata()
            starts = self._take_over(sources)
            if starts is None:
                self._untaken |= sources
                starts = dict.fromkeys(sources, OFFSET_END)
            self._assign([KafkaPartition(*source, starts[source]) for source in sources])
            self._owned |= sources
            paused = [s for s in sources if s in self._untaken or s.topic in self._full]
            if paused:
                self._pause(paused)

    def _on_revoke(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        sources = {TopicPartition(p.topic, p.partition) for p in partitions} & self._owned
        with _Inside(self):
            try:
                assert self._listener is not None
                self._listener.revoked(sources)
            except Exception as error:  # must not surface from the client's callback
                self._fatal = error
            self._give_up(sources)

    def _on_lost(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        sources = {TopicPartition(p.topic, p.partition) for p in partitions} & self._owned
        with _Inside(self):
            assert self._listener is not None
            self._listener.lost(sources)
            self._give_up(sources)

    def _give_up(self, sources: set[TopicPartition]) -> None:
        self._empty(sources)
        self._owned -= sources
        self._untaken -= sources
        for source in sources:
            self._held.pop(source, None)
        if self._incremental:
            if sources:
                self._consumer.incremental_unassign([KafkaPartition(*s) for s in sources])
        else:
            self._consumer.unassign()

    def _assign(self, partitions: list[KafkaPartition]) -> None:
        if self._incremental:
            self._consumer.incremental_assign(partitions)
        else:
            self._consumer.assign(partitions)

    def _take_over(self, sources: set[TopicPartition]) -> dict[TopicPartition, int] | None:
        """Ask the listener for the start offsets; None when it has to be asked again later."""
        assert self._listener is not None
        try:
            starts = dict(self._listener.assigned(sources))
            return starts | self._committed(sources - set(starts), within=30)
        except (OutageError, TransientError) as error:
            log.warning("taking %d partitions over: %s; trying again", len(sources), error)
            self._take_over_at = self._now() + _TAKE_OVER_RETRY_SECONDS
            return None
        except Exception as error:  # must not surface from the client's callback
            self._fatal = error
            return None

    def _take_over_again(self) -> None:
        if not self._untaken or self._now() < self._take_over_at:
            return
        sources = set(self._untaken)
        starts = self._take_over(sources)
        if starts is None:
            return
        self._untaken.clear()
        for source in sources:
            self._seek(source, starts[source])
        self._resume(source for source in sources if source.topic not in self._full)


class _Inside:
    """Marks the time inside a rebalance callback, in which the client's positions are ahead of ours."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def __enter__(self) -> None:
        self._source._in_callback = True

    def __exit__(self, *_: object) -> None:
        self._source._in_callback = False


def _record(message: Message) -> Record:
    headers = tuple((name, _bytes(value)) for name, value in message.headers() or ())
    return Record(
        topic=str(message.topic()),
        partition=int(message.partition() or 0),
        offset=int(message.offset() or 0),
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers=headers,
        timestamp_ms=message.timestamp()[1],
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
