"""How far the consumers are behind: what decides whether unresolved blocks were lost or are only waiting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported, not declared

from indexer.kafka import config
from indexer.settings import Settings

log = logging.getLogger(__name__)

_MARKERS = 1  # a transaction's marker takes an offset that no consumer ever reads
_TAIL_SECONDS = 10.0


@dataclass(slots=True)
class Seen:
    """Where a partition stood, since when, and whether a record waits there (None: nobody looked yet)."""

    committed: int
    end: int
    since: float
    unread: bool | None = None


@dataclass(slots=True)
class Stillness:
    """Tells a partition that lags from one whose last offsets are only markers, or of aborted transactions.

    Those look alike from outside: the end is ahead of what was committed, and nothing moves. A read of what lies there
    tells; it is done only where the lag may be a single marker, and where nothing moved for `patience` seconds.
    """

    patience: float
    unread: Callable[[tuple[str, int], int, int], bool]  # whether a consumer that goes on at the one finds a record
    seen: dict[tuple[str, int], Seen] = field(default_factory=dict)

    def lags(self, source: tuple[str, int], committed: int, end: int, now: float) -> bool:
        """Say whether records wait there, however long."""
        if committed >= end:
            return False
        last = self.seen.get(source)
        if last is None or (last.committed, last.end) != (committed, end):
            last = self.seen[source] = Seen(committed, end, now)
        still = now - last.since >= self.patience
        if still or (last.unread is None and end - committed <= _MARKERS):
            last.unread, last.since = self.unread(source, committed, end), now
        return last.unread is not False


class Tail:
    """Reads the last offsets of partitions as a consumer would; it never subscribes, and commits nothing."""

    def __init__(self, settings: Settings) -> None:
        self._config = config.common(settings) | {
            "group.id": settings.topic_prefix + "tail",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "message.max.bytes": 1_000_000,  # or it would raise how much is fetched
            "fetch.message.max.bytes": 64 * 1024,  # a larger record comes all the same (KIP-74)
            "queued.min.messages": 1,
        }
        self._consumer: Consumer | None = None

    def unread(self, source: tuple[str, int], committed: int, end: int) -> bool:
        """Say whether a record lies from `committed` on and before `end`; raises KafkaException."""
        if self._consumer is None:
            self._consumer = Consumer(self._config)
        self._consumer.assign([TopicPartition(*source, committed)])
        try:
            message = self._consumer.poll(_TAIL_SECONDS)
        finally:
            self._consumer.unassign()
        if message is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        return (message.offset() or 0) < end  # of a record, or of the log's end: all before it is no record


class LagReader:
    """Reads committed and end offsets of the decoders and persisters.

    Committed offsets through consumers that never subscribe, and so never join: an admin client that asks for them
    while the group's coordinator is loading takes the process down (librdkafka issue 5040).
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._admin = AdminClient(config.common(settings))
        self._members: dict[str, Consumer] = {}
        self._prefix, self._now = settings.topic_prefix, now
        self._stillness = Stillness(settings.republish_seconds, Tail(settings).unread)
        self.outage: str | None = None  # code, while the brokers do not answer

    def lagging(self, groups: Mapping[str, Collection[str]], partitions: int) -> set[int] | None:
        """Return the partition numbers at which any of the groups (name → topics) still has records to read.

        None when the brokers do not tell: then nothing is known, and nothing is to be concluded.
        """
        behind = set()
        try:
            for group, topics in groups.items():
                for source, (committed, end) in self._offsets(group, topics, partitions).items():
                    if self._stillness.lags(source, committed, end, self._now()):
                        behind.add(source[1])
        except KafkaException as error:
            log.warning("lag unknown, nothing is published again: %s", error.args[0].str())
            return None
        return behind

    def waiting(self, group: str, topics: Collection[str], partitions: int) -> int:
        """Return about how many records of these topics the group has not read; 0 when the brokers do not answer."""
        try:
            behind = sum(max(end - done, 0) for done, end in self._offsets(group, topics, partitions).values())
        except KafkaException:
            self.outage = "KAFKA_DOWN"
            return 0
        self.outage = None
        return behind

    def _offsets(self, group: str, topics: Collection[str], partitions: int) -> dict[tuple[str, int], tuple[int, int]]:
        names = [self._prefix + topic for topic in topics]
        asked = [TopicPartition(name, p) for name in names for p in range(partitions)]
        done = self._committed(self._prefix + group, asked)
        latest = self._admin.list_offsets(
            {each: OffsetSpec.latest() for each in asked},  # type: ignore[no-untyped-call]  # not typed there
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=10,
        )
        first = self._admin.list_offsets(
            {each: OffsetSpec.earliest() for each in asked},  # type: ignore[no-untyped-call]
            request_timeout=10,
        )
        committed = {(p.topic, p.partition): p.offset for p in done}
        found = {}
        for each, future in latest.items():
            source = (each.topic, each.partition)
            start = first[each].result().offset
            found[source] = (max(committed.get(source, -1), start), future.result().offset)
        return found

    def _committed(self, group: str, asked: list[TopicPartition]) -> list[TopicPartition]:
        if group not in self._members:
            # read_committed would wait for offsets that a transaction is about to commit, and they always are
            own = {"group.id": group, "isolation.level": "read_uncommitted", "enable.auto.commit": False}
            self._members[group] = Consumer({**config.common(self._settings), **own})
        return self._members[group].committed([TopicPartition(p.topic, p.partition) for p in asked], timeout=10)
