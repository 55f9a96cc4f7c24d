"""A group member as the pipeline's Source: assignment, priorities, due times, rewinding; all on one thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from indexer.clock import wall
from indexer.errors import FatalError, OutageError, TransientError
from indexer.inflight import Record, TopicPartition
from indexer.kafka.config import Config
from indexer.kafka.holds import Holds
from indexer.kafka.membership import member_id
from indexer.kafka.shelves import Shelves
from indexer.pipeline import Listener, Offsets, Rewind

log = logging.getLogger(__name__)

_TAKE_OVER_WAIT_SECONDS = 3.0  # for the committed offsets, inside a callback
_TAKE_OVER_RETRY_SECONDS = 1.0
_REWIND_WAIT_SECONDS = 5.0
_MISSING_SECONDS = 10.0  # a restarting broker does not know its topics for a moment
_POLL_RECORDS = 128  # of a single topic at a time, so that its shelf is not filled and the topic paused every time
_POLL_BYTES = 8 * 1024 * 1024
UNREADABLE_HEADERS = "x-unreadable-headers"  # in place of headers whose names are not UTF-8: no client hands them out
_QUIET = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._RESOLVE)
_MISSING = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


class KafkaSource:
    """Consumes `topics`, the earlier ones preferred by weight; records that are not due yet wait on the broker.

    Classic `range` is eager: everything is revoked and assigned anew. Cooperative-sticky and KIP-848 are incremental.
    The client does not tell which is on, so the configuration decides. Nothing raises from inside the client's
    callbacks: what goes wrong there is kept and raised from `poll`.
    """

    def __init__(
        self,
        config: Config,
        topics: Mapping[str, int],
        *,
        due_ms: Callable[[Record], int] | None = None,
        longest: Mapping[str, float] | None = None,  # seconds that a topic's records wait at most
        poll_bytes: int = _POLL_BYTES,
        now: Callable[[], float] = wall,
        monotonic: Callable[[], float] = time.monotonic,
        described: Callable[[TopicPartition, str], None] = lambda source, metadata: None,
    ) -> None:
        self._config, self._weights = config, dict(topics)
        self._kip_848 = config.get("group.protocol") == "consumer"
        self._incremental = self._kip_848 or config.get("partition.assignment.strategy") == "cooperative-sticky"
        self._poll_bytes, self._monotonic = poll_bytes, monotonic
        self._described = described  # told what is committed with an offset where we begin, or go back to
        self._listener: Listener | None = None
        self._consumer = Consumer(config)
        self._shelves = Shelves(topics, poll_bytes)
        self._next: dict[TopicPartition, int | None] = {}  # what is owned: where to go on; None: the oldest record
        self._untaken: set[TopicPartition] = set()  # owned, but the listener could not take them over yet
        self._full: set[str] = set()  # topics paused because their shelf is full
        self._held = Holds(due_ms, longest or {}, now, monotonic)  # paused: the next record is not due
        self._take_over_at = 0.0
        self._missing_since: float | None = None
        self._in_callback = False
        self._failure: Exception | None = None  # kept in a callback
        self._metadata: bytes | None = None  # of the group, as it was when the assignment was heard
        self.rebalances = 0
        self.member = False

    # what the pipeline calls

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener
        if self._kip_848:  # under which nobody complains about a missing topic
            self._missing_since = self._monotonic()
        self._consumer.subscribe(
            list(self._weights), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def poll(self, most: int, timeout: float) -> Sequence[Record]:
        self._take_over_again()
        self._resume_due()
        self._fill(0.0 if most > 0 and len(self._shelves) else timeout, max(1, min(most, _POLL_RECORDS)))
        self._raise_what_was_kept()
        self._look_for_missing_topics()
        chosen = self._shelves.choose(most, self._poll_bytes)
        for record in chosen:
            self._next[record.source] = record.offset + 1
        self._resume_emptied()
        return chosen

    def position(self, source: TopicPartition) -> int | None:
        """Return where to go on.

        The client's own position is past transaction markers, but also ahead of what waits on the shelves; after a
        seek it is unknown until a record comes.
        """
        ours = self._next.get(source)
        if (
            self._in_callback
            or source in self._held
            or source not in self._next
            or self._shelves.end(source) is not None
        ):
            return ours
        try:
            theirs = self._consumer.position([KafkaPartition(*source)])[0].offset
        except KafkaException:
            return ours
        return theirs if theirs >= 0 and (ours is None or theirs > ours) else ours

    def group_metadata(self) -> bytes:
        """Return what fences a transaction's offsets (KIP-447); raises Rewind when we are no member any more.

        Taken when the assignment was heard, never fresh under the classic protocol: a broker accepts fresh metadata
        for partitions that somebody else owns by now. Under KIP-848 the epoch moves without an assignment, and a
        partition has no other owner before this member let it go. A broker accepts no member at all, so we do not.
        """
        if self._kip_848:
            self._metadata = self._fresh_metadata()
        if self._metadata is None or not member_id(self._metadata):
            raise Rewind("not a member of the group at the moment")
        return self._metadata

    def rewind(self) -> None:
        """Seek everything we own to the committed offsets; waits for pending transactions.

        Raises OutageError when the offsets cannot be read; nothing was moved then.
        """
        taken = set(self._next) - self._untaken
        self._move(self._committed(taken, _REWIND_WAIT_SECONDS))

    def rejoin(self) -> None:
        """Leave the group and come back as a new member."""
        listener = self._heard()
        self.close()
        self._forget_all()
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
        """Leave the group; the listener hears it. Raises what the listener raised."""
        self._consumer.close()
        self._raise_what_was_kept()

    # polling

    def _fill(self, timeout: float, wanted: int) -> None:
        """Take what the client has, at least until there is enough; all of it where priorities have to choose."""
        while self._failure is None and (message := self._consumer.poll(timeout)) is not None:
            timeout = 0.0
            if (error := message.error()) is not None:
                self._on_error(message, error)
                continue
            record = _record(message)
            if record.source not in self._next or record.source in self._held or self._not_due(record):
                continue
            self._shelves.put(record)
            if self._shelves.full(record.topic):
                self._full.add(record.topic)
                self._pause(source for source in self._next if source.topic == record.topic)
            enough = len(self._shelves) >= wanted or self._shelves.size >= self._poll_bytes // 2
            if enough and len(self._weights) == 1:
                return

    def _on_error(self, message: Message, error: KafkaError) -> None:
        code = error.code()
        if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError._NO_OFFSET, KafkaError.OFFSET_OUT_OF_RANGE):
            self._start_at_the_oldest(TopicPartition(str(message.topic()), int(message.partition() or 0)))
        elif error.fatal():
            raise FatalError(f"Kafka consumer: {error.str()}", code="KAFKA_CONSUMER_FATAL")
        elif code in _MISSING:
            self._missing_since = self._missing_since or self._monotonic()
        elif code not in _QUIET:
            log.warning("Kafka consumer: %s", error.str())

    def _start_at_the_oldest(self, source: TopicPartition) -> None:
        """Go on where the log begins: retention was faster than we, or the log was cut and is shorter than it was."""
        if source not in self._next:
            return
        at = self._shelves.end(source) or self._next[source]
        try:
            low, _ = self._consumer.get_watermark_offsets(KafkaPartition(*source), timeout=5, cached=False)
        except KafkaException as error:
            raise OutageError(f"looking for the oldest record: {error.args[0].str()}", code="KAFKA_DOWN") from error
        log.warning("%s[%d]: offset %s is gone, going on at the oldest record, %d", *source, at, low)
        if at is not None and at > low:  # offsets come again that are under way
            self._heard().lost({source})
            self._shelves.drop({source})
            self._heard().assigned({source})
        if self._shelves.end(source) is None:
            self._next[source] = low
        self._seek({source: low})

    def _look_for_missing_topics(self) -> None:
        """End the process when a topic stays unknown; a client in a group never says so twice."""
        if self._missing_since is None or self._monotonic() - self._missing_since < _MISSING_SECONDS:
            return
        self._missing_since = None
        try:
            known = self._consumer.list_topics(timeout=5).topics
        except KafkaException:
            return
        missing = [topic for topic in self._weights if topic not in known]
        if missing:
            raise FatalError(f"no topic {', '.join(missing)}: run `indexer topics apply`", code="TOPIC_MISSING")

    def _raise_what_was_kept(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # pausing and moving

    def _not_due(self, record: Record) -> bool:
        """Put a record back whose time has not come: pause its partition, seek to it, hand out nothing beyond it."""
        if not self._held.hold(record):
            return False
        if self._shelves.end(record.source) is None:
            self._next[record.source] = record.offset  # past the markers before it
        self._pause([record.source])
        self._seek({record.source: record.offset})
        return True

    def _resume_due(self) -> None:
        if due := self._held.over():
            self._resume(due)

    def _resume_emptied(self) -> None:
        if emptied := {topic for topic in self._full if self._shelves.half_empty(topic)}:
            self._full -= emptied
            self._resume(source for source in self._next if source.topic in emptied)

    def _stays_paused(self, source: TopicPartition) -> bool:
        return source in self._held or source in self._untaken or source.topic in self._full

    def _pause(self, sources: Iterable[TopicPartition]) -> None:
        if partitions := [KafkaPartition(*source) for source in sources]:
            self._consumer.pause(partitions)

    def _resume(self, sources: Iterable[TopicPartition]) -> None:
        chosen = [source for source in sources if source in self._next and not self._stays_paused(source)]
        if chosen:
            self._consumer.resume([KafkaPartition(*source) for source in chosen])

    def _move(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Go on elsewhere in partitions that we own; None is the oldest record."""
        self._shelves.drop(set(offsets))
        held = [source for source in offsets if self._held.drop(source)]
        self._next.update(offsets)
        self._seek(offsets)
        self._resume(held)
        self._resume_emptied()

    def _seek(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        for source, offset in offsets.items():
            try:
                self._consumer.seek(KafkaPartition(*source, _kafka_offset(offset)))
            except KafkaException as error:  # _STATE: its fetcher has not started yet, or ended on an error
                log.info("seeking %s[%d]: %s; assigning it anew", *source, error)
                self._assign_anew({source: offset})

    def _assign_anew(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        partitions = [KafkaPartition(*source, _kafka_offset(offset)) for source, offset in offsets.items()]
        if self._incremental:
            self._consumer.incremental_unassign([KafkaPartition(*source) for source in offsets])
            self._consumer.incremental_assign(partitions)
        else:
            others = [source for source in self._next if source not in offsets]
            partitions += [KafkaPartition(*source, self._fetch_position(source)) for source in others]
            self._consumer.assign(partitions)
        self._pause(source for source in self._next if self._stays_paused(source))

    def _fetch_position(self, source: TopicPartition) -> int:
        """Return where the client goes on fetching: behind what is on the shelves."""
        position = self._consumer.position([KafkaPartition(*source)])[0].offset
        return position if position >= 0 else self._shelves.end(source) or _kafka_offset(self._next[source])

    def _committed(self, sources: Collection[TopicPartition], within: float) -> dict[TopicPartition, int | None]:
        """Return the group's stable offsets, None where there is none; waits for pending transactions."""
        if not sources:
            return {}
        try:
            found = self._consumer.committed([KafkaPartition(*source) for source in sources], timeout=within)
        except KafkaException as error:
            raise OutageError(f"reading committed offsets: {error.args[0].str()}", code="KAFKA_DOWN") from error
        if failed := next((each.error for each in found if each.error is not None), None):
            raise OutageError(f"reading committed offsets: {failed.str()}", code="KAFKA_DOWN")
        for p in found:
            self._described(TopicPartition(p.topic, p.partition), p.metadata or "")
        return {TopicPartition(p.topic, p.partition): p.offset if p.offset >= 0 else None for p in found}

    # the assignment

    def _on_assign(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        sources = {TopicPartition(p.topic, p.partition) for p in partitions}
        with self._callback():
            self.rebalances += 1
            log.info("%d partitions assigned by the group", len(sources))
            self._metadata = self._fresh_metadata()
            starts = self._take_over(sources)
            if starts is None:
                self._untaken |= sources
            self.member = not self._untaken
            offsets = {s: OFFSET_END if starts is None else _kafka_offset(starts[s]) for s in sources}
            assign = self._consumer.incremental_assign if self._incremental else self._consumer.assign
            assign([KafkaPartition(*source, offset) for source, offset in offsets.items()])
            self._next.update(starts or dict.fromkeys(sources))
            self._pause(source for source in sources if self._stays_paused(source))

    def _on_revoke(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        with self._callback():
            self._metadata = self._fresh_metadata()  # cooperative: already the generation that takes them away
            sources = self._owned_among(partitions)
            try:
                self._heard().revoked(sources)
            finally:
                self._give_up(sources)

    def _on_lost(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        with self._callback():
            self._metadata, self.member = None, False
            sources = self._owned_among(partitions)
            try:
                self._heard().lost(sources)
            finally:
                self._give_up(sources)

    @contextmanager
    def _callback(self) -> Iterator[None]:
        """Keep what is raised: the client would do its own (un)assignment first and raise it from anywhere."""
        self._in_callback = True
        try:
            yield
        except Exception as error:
            self._failure = self._failure or error
        finally:
            self._in_callback = False

    def _owned_among(self, partitions: list[KafkaPartition]) -> set[TopicPartition]:
        """A client may name what is not ours any more (confluent-kafka-python #1551)."""
        return {TopicPartition(p.topic, p.partition) for p in partitions} & set(self._next)

    def _give_up(self, sources: set[TopicPartition]) -> None:
        paused = [KafkaPartition(*source) for source in sources if self._stays_paused(source)]
        if paused:  # or the client keeps them paused when they come back
            self._consumer.resume(paused)
        self._shelves.drop(sources)
        self._untaken -= sources
        for source in sources:
            del self._next[source]
            self._held.drop(source)
        if not self._incremental:
            self._metadata = None
            self._consumer.unassign()
        elif sources:
            self._consumer.incremental_unassign([KafkaPartition(*source) for source in sources])
        self._resume_emptied()

    def _take_over(self, sources: set[TopicPartition]) -> dict[TopicPartition, int | None] | None:
        """Ask the listener for the start offsets, the group for the rest; None when it has to be asked again."""
        if not sources:
            return {}
        try:
            starts: dict[TopicPartition, int | None] = dict(self._heard().assigned(sources))
            return starts | self._committed(sources - set(starts), _TAKE_OVER_WAIT_SECONDS)
        except (OutageError, TransientError, Rewind) as error:
            log.warning("taking %d partitions over: %s; trying again", len(sources), error)
        except Exception as error:
            self._failure = self._failure or error
        self._take_over_at = self._monotonic() + _TAKE_OVER_RETRY_SECONDS
        return None

    def _take_over_again(self) -> None:
        if not self._untaken or self._monotonic() < self._take_over_at:
            return
        sources = set(self._untaken)
        if (starts := self._take_over(sources)) is not None:
            self._untaken -= sources
            self.member = True
            self._move(starts)
            self._resume(sources)

    def _fresh_metadata(self) -> bytes | None:
        """Return the group's metadata; None where the client has left it: a close may hear of its last rebalance so."""
        try:
            metadata: bytes = self._consumer.consumer_group_metadata()
        except RuntimeError as error:
            log.info("no metadata of the group: %s", error)
            return None
        return metadata

    def _heard(self) -> Listener:
        assert self._listener is not None, "subscribe first"
        return self._listener

    def _forget_all(self) -> None:
        self._shelves.drop(set(self._next))
        self._next = {}
        self._held.clear()
        self._untaken, self._full = set(), set()
        self._metadata, self.member = None, False


def _kafka_offset(offset: int | None) -> int:
    return OFFSET_BEGINNING if offset is None else offset


def _record(message: Message) -> Record:
    try:
        pairs = cast("Sequence[tuple[str, str | bytes | None]]", message.headers() or ())  # a dict only when produced
        headers = tuple((name, _bytes(value)) for name, value in pairs)
    except UnicodeDecodeError:  # a foreign record; its value says what it is
        headers = ((UNREADABLE_HEADERS, b""),)
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
