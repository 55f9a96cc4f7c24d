"""Topics, records and transactions of a test, on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

Headers = Sequence[tuple[str, bytes]]


class TestKafka:
    """A client for arranging and checking."""

    __test__ = False

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self._admin = AdminClient({"bootstrap.servers": servers})
        in_order = {"enable.idempotence": True}  # or what is tried again comes behind what was sent after it
        self._producer = Producer(
            {"bootstrap.servers": servers, "linger.ms": 1, "message.max.bytes": 64 * 1024 * 1024, **in_order}
        )

    def create(
        self, *topics: str, partitions: int = 2, replicas: int = 1, settings: dict[str, str] | None = None
    ) -> None:
        new = [NewTopic(topic, partitions, replicas, config=settings or {}) for topic in topics]
        for future in self._admin.create_topics(new).values():
            future.result(60)
        until(lambda: all(self._leaders(topic) == partitions for topic in topics), "the topics have leaders")

    def produce(self, topic: str, partition: int, *values: bytes, headers: Headers = (), key: bytes = b"k") -> None:
        """Produce all of it, in order; a partition that was just made may refuse its first record."""

        def refused(*some: bytes) -> list[object]:
            errors: list[object] = []
            for value in some:
                self._producer.produce(
                    topic,
                    value,
                    key,
                    partition=partition,
                    headers=list(headers),
                    on_delivery=lambda error, _: errors.append(error) if error is not None else None,
                )
            assert self._producer.flush(60) == 0
            return errors

        until(lambda: not refused(*values[:1]), "the first record is taken")
        assert refused(*values[1:]) == []

    def produce_in_transaction(self, topic: str, partition: int, *values: bytes, abort: bool = False) -> None:
        """Produce in a transaction that is over, its marker there: Kafka answers before it has written it."""
        config = {"bootstrap.servers": self.servers, "transactional.id": f"{topic}-arrange"}
        producer = Producer(config)
        producer.init_transactions(60)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=partition)
        producer.flush(60)
        if abort:
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
        Producer(config).init_transactions(60)  # has to wait for the marker

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        for future in self._admin.delete_records([TopicPartition(topic, partition, before)]).values():
            future.result(60)

    def limit_records(self, topic: str, most_bytes: int) -> None:
        entry = ConfigEntry("max.message.bytes", str(most_bytes), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in self._admin.incremental_alter_configs([resource]).values():
            future.result(60)

    def committed(self, group: str, topic: str, partition: int) -> int:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group, "isolation.level": "read_committed"})
        try:
            offset: int = consumer.committed([TopicPartition(topic, partition)], timeout=60)[0].offset
            return offset
        finally:
            consumer.close()

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group})
        try:
            until(lambda: _committed(consumer, TopicPartition(topic, partition, offset)), "an offset is committed")
        finally:
            consumer.close()

    def end(self, topic: str, partition: int) -> int:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "nobody"})
        try:
            high: int = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=60)[1]
            return high
        finally:
            consumer.close()

    def read(self, topic: str, partitions: int = 2, isolation: str = "read_committed") -> list[Message]:
        """Return all records up to the end, as a reader of that isolation sees them."""
        return list(self._read(topic, partitions, isolation))

    def values(self, topic: str, partitions: int = 2, isolation: str = "read_committed") -> list[bytes]:
        return [bytes(message.value() or b"") for message in self.read(topic, partitions, isolation)]

    def _read(self, topic: str, partitions: int, isolation: str) -> Iterator[Message]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "nobody",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": isolation,
                "receive.message.max.bytes": 100 * 1024 * 1024,
                "fetch.message.max.bytes": 50 * 1024 * 1024,
            }
        )
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        left = set(range(partitions))
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is None:
                yield message
            else:
                left.discard(message.partition() or 0)
        consumer.close()
        assert not left, "the topic was not read to its end in time"

    def leader(self, topic: str, partition: int = 0) -> int:
        """Return the number of the broker that leads a partition, -1 while none does."""
        return int(self._admin.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader)

    def _leaders(self, topic: str) -> int:
        found = self._admin.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(1 for each in found.values() if each.leader >= 0)


def _committed(consumer: Consumer, partition: TopicPartition) -> bool:
    try:
        consumer.commit(offsets=[partition], asynchronous=False)
    except KafkaException:
        return False
    return True


def until(happened: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until something happened; fails naming it."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
