"""A Kafka client in memory, whose brokers answer what a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from indexer.inflight import Record


@dataclass
class Client:
    """A producer whose brokers answer what the test says, in the order of the records."""

    answers: list[KafkaError | None] = field(default_factory=list)
    refusals: list[KafkaError] = field(default_factory=list)  # of produce
    raises: KafkaError | None = None  # from poll and flush
    unanswered: list[Callable[[KafkaError | None, Any], None]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def __call__(self, config: dict[str, Any]) -> Client:
        return self

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        partition: int,
        headers: Sequence[tuple[str, bytes | None]] = (),
        *,
        on_delivery: Callable[[KafkaError | None, Any], None],
    ) -> None:
        if self.refusals:
            raise KafkaException(self.refusals.pop())
        self.records.append(Record(topic, partition, -1, key, value, tuple(headers)))
        self.unanswered.append(on_delivery)

    def poll(self, _: float) -> int:
        if self.raises is not None:
            raise KafkaException(self.raises)
        while self.answers and self.unanswered:
            self.unanswered.pop(0)(self.answers.pop(0), None)
        return 0

    def flush(self, seconds: float) -> int:
        self.poll(seconds)
        return len(self.unanswered)
