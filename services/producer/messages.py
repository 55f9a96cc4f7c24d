"""The follower's records on their way to Kafka: confirmed by the brokers before anything else happens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from indexer import codec
from indexer.checksum import sealed
from indexer.errors import OutageError
from indexer.kafka import config
from indexer.outputs import Headers
from indexer.records import BlockWorkItem, Rollback
from indexer.settings import Settings
from indexer.topics import partition_of
from services.producer.refusals import asked, final

_SECONDS = 15.0


class KafkaMessages:
    """An idempotent producer that waits for nothing: a new head is one small record."""

    def __init__(
        self,
        settings: Settings,
        work: str,
        decoded: str,
        partitions: int,
        make: Callable[[dict[str, Any]], Any] = Producer,
    ) -> None:
        """`work` and `decoded` are topics' full names: of urgent work items, and of decoded blocks."""
        own = {"linger.ms": 0, "message.timeout.ms": int(_SECONDS * 1000)}
        self._producer = make({**config.producer(settings), **own})
        self._work, self._decoded, self._partitions = work, decoded, partitions
        self._refused: list[KafkaError] = []

    def roll_back(self, rollback: Rollback, partitions: Collection[int] | None = None) -> None:
        """Send a Rollback to these partitions, or to every one; raises OutageError."""
        key, value = b"%d:rollback" % rollback.chain_id, codec.encode_rollback(rollback)
        for partition in range(self._partitions) if partitions is None else partitions:
            self._produce(self._decoded, partition, key, value, sealed((), value))
        self._confirm("a rollback")

    def publish(self, items: Sequence[BlockWorkItem]) -> None:
        """Send work items; raises OutageError."""
        for item in items:
            key, value = codec.block_key(item.chain_id, item.number), codec.encode_work_item(item)
            self._produce(self._work, partition_of(item.number, self._partitions), key, value)
        self._confirm("work items")

    def _produce(self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers = ()) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition, headers=list(headers), on_delivery=self._note)
                return
            except BufferError:
                asked("for the follower", self._producer.poll, 0.1)
            except KafkaException as error:
                self._refused.append(error.args[0])
                return

    def _note(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def _confirm(self, what: str) -> None:
        left = asked(what, self._producer.flush, _SECONDS + 1)
        refused, self._refused = self._refused, []
        for error in refused:
            if (ends := final(what, error)) is not None:
                raise ends
        if refused or left:
            why = refused[0].str() if refused else "no answer"
            raise OutageError(f"publishing {what}: {why}", code="KAFKA_DOWN")
