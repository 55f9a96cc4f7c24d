"""The Kafka side of a replay run: its transactional producer, and its position as the offset of a group of its own."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from indexer.errors import OutageError
from indexer.inflight import TopicPartition
from indexer.kafka import config
from indexer.kafka.heir import Heir
from indexer.kafka.transactions import KafkaTransactionSink
from indexer.outputs import Output
from indexer.pipeline import Handled, Offsets
from indexer.settings import Settings
from indexer.topics import load_topics

_SECONDS = 2.0  # an open transaction holds the decoders up for this long, where its heir was killed with it or cut off
_WAIT_SECONDS = 10.0


class ReplayTransactions:
    """One run's, under its name; making it ends what a predecessor left open."""

    def __init__(self, settings: Settings, name: str) -> None:
        short = dict.fromkeys(
            ("transaction.timeout.ms", "message.timeout.ms", "socket.timeout.ms"), int(_SECONDS * 1000)
        )
        self._group = Consumer(  # never subscribes: the group has no members, so that a broker takes its offsets
            {
                **config.common(settings),
                "group.id": settings.topic_prefix + name,
                "enable.auto.commit": False,
                "isolation.level": "read_committed",  # waits for offsets of a transaction that is being committed
            }
        )
        transactional = config.transactional(settings, name) | short
        self._sink = KafkaTransactionSink(
            transactional,
            self._group.consumer_group_metadata,
            seconds=_SECONDS,
            service="replay",
        )
        self._source = TopicPartition(load_topics(settings.topic_prefix).dlq, 0)
        self._sink.assigned([self._source])  # ends what hangs in the position, which could not be read for ever
        self._heir = Heir(transactional)

    def write(self, handled: Sequence[Handled[Sequence[Output]]], offsets: Offsets) -> None:
        self._sink.write(handled, offsets)

    def position(self) -> int | None:
        try:
            found = self._group.committed([KafkaPartition(*self._source)], timeout=_WAIT_SECONDS)[0]
        except KafkaException as error:
            raise OutageError(f"reading a replay's position: {error.args[0].str()}", code="KAFKA_DOWN") from error
        if found.error is not None:
            raise OutageError(f"reading a replay's position: {found.error.str()}", code="KAFKA_DOWN")
        return found.offset if found.offset >= 0 else None

    def let_go(self) -> None:
        """Abort what an interrupted write left open, for which a position would wait."""
        self._sink.close()

    def close(self) -> None:
        self.let_go()
        self._heir.dismiss()
        self._group.close()
