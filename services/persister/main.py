"""Wires the persister: settings → Kafka, PostgreSQL → the loops. `python -m services.persister.main`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from indexer import service
from indexer.faults import hook
from indexer.kafka import config
from indexer.kafka.admin import KafkaAdmin
from indexer.kafka.source import KafkaSource
from indexer.pipeline import Pace, Pipeline
from indexer.settings import Settings
from indexer.topics import DECODED, DLQ, load_topics
from services.persister.connections import PartitionKeeper, RowConnections
from services.persister.handler import BlockHandler
from services.persister.progress import Progress
from services.persister.sink import OffsetsSink
from services.persister.store import BlockWriter, Destination


def main(settings: Settings, stop: Callable[[], bool]) -> None:
    settings.require("kafka_bootstrap_servers", "database_url")
    topics = load_topics(settings.topic_prefix)
    admin = KafkaAdmin(settings)
    checked = admin.check(topics, DECODED, DLQ)
    group = settings.topic_prefix + "persister"
    connections = RowConnections(settings)
    connections.open().close()  # a wrong database is told before the group is joined

    source = KafkaSource(config.consumer(settings, "persister", "cooperative-sticky"), {topics.decoded: 1})
    writer = BlockWriter(
        Destination(settings.chain_id, group, checked.partitions, topics.dlq, checked.ids.__getitem__),
        PartitionKeeper(settings),
        fault=hook,
    )
    sink = OffsetsSink(connections, Progress(group, admin.topic_ids), writer, source.commit_for_lag_tools, fault=hook)
    pace = Pace(
        seconds=settings.persist_seconds,
        results=settings.persist_blocks,
        bytes=settings.persist_mib * 1024 * 1024,
        under_way=2 * settings.persist_blocks,
        held_bytes=2 * settings.persist_mib * 1024 * 1024,
    )
    handler = BlockHandler(settings.chain_id, checked.partitions)
    Pipeline(source, handler, sink, time.monotonic, pace).run(stop)


if __name__ == "__main__":
    sys.exit(service.run("persister", main))
