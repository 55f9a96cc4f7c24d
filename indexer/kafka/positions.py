"""Where the logs of topics begin and end in Kafka."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import wait

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported, not declared

from indexer.audit.positions import Log
from indexer.errors import OutageError
from indexer.kafka import config
from indexer.kafka.admin import KafkaAdmin
from indexer.settings import Settings

_SECONDS = 10.0


def logs(settings: Settings, topics: Collection[str]) -> dict[tuple[str, int], Log]:
    """Return (topic, partition) → log of those topics that exist; raises OutageError."""
    existing = KafkaAdmin(settings).describe(topics)
    asked = [TopicPartition(name, p) for name, topic in existing.items() for p in range(topic.partitions)]
    client = AdminClient(config.common(settings))
    try:
        starts = client.list_offsets({each: OffsetSpec.earliest() for each in asked}, request_timeout=_SECONDS)  # type: ignore[no-untyped-call]
        ends = client.list_offsets({each: OffsetSpec.latest() for each in asked}, request_timeout=_SECONDS)  # type: ignore[no-untyped-call]
        wait((*starts.values(), *ends.values()), _SECONDS)  # a client that goes while it is answered ends the process
        return {
            (each.topic, each.partition): Log(
                existing[each.topic].id, starts[each].result(_SECONDS).offset, ends[each].result(_SECONDS).offset
            )
            for each in asked
        }
    except (KafkaException, TimeoutError) as error:
        raise OutageError(f"asking for the ends of logs: {type(error).__name__}", code="KAFKA_DOWN") from error
