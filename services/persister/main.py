"""Wires the persister: settings → Kafka, PostgreSQL → the loops. `python -m services.persister.main`."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from indexer import native, service
from indexer.abi.models import load_models, wrapped_native
from indexer.chain.rules import rules_for
from indexer.chain.verify import Mode
from indexer.errors import PoisonError
from indexer.faults import hook
from indexer.health import of_loop
from indexer.kafka import config
from indexer.kafka.admin import CheckedTopics, KafkaAdmin
from indexer.kafka.events import EventPublisher
from indexer.kafka.guard import Guard, guarded
from indexer.kafka.source import KafkaSource
from indexer.pipeline import Handled, Offsets, Pace, Pipeline
from indexer.report import Reporter
from indexer.settings import Settings
from indexer.storage import engine
from indexer.tally import Tally, Work
from indexer.topics import DECODED, DLQ, EVENTS, LETTER_GROUP, PERSISTER_GROUP, load_topics
from services.persister.companions import Companions, IndexBuilder, Reopener
from services.persister.connections import SERVICE, PartitionKeeper, RowConnections
from services.persister.dlq_indexer import DeadRecord, LetterHandler, LetterWriter
from services.persister.handler import BlockHandler, Item
from services.persister.outbox import OutboxRelay
from services.persister.packed import PackedBlock
from services.persister.progress import Progress
from services.persister.proving import Prover
from services.persister.sink import OffsetsSink
from services.persister.store import BlockWriter, Destination

log = logging.getLogger(__name__)

_MIB = 1024 * 1024


def main(settings: Settings, stop: Callable[[], bool]) -> None:
    settings.require("kafka_bootstrap_servers", "database_url")
    prover = prover_of(settings)
    admin = KafkaAdmin(settings)
    checked = admin.check(load_topics(settings.topic_prefix), DECODED, DLQ, EVENTS)
    RowConnections(settings).open().close()  # a wrong database is told before the group is joined
    companions = Companions(stop)
    companions.start("dlq-indexer", lambda ended: letters(settings, admin, checked.ids).run(ended))
    relay = _relay(settings)
    companions.every(1.0, "outbox", relay.run_once)
    companions.every(30.0, "letters", Reopener(settings.chain_id, RowConnections(settings).open))
    companions.every(3.0, "indexes", IndexBuilder(lambda: engine.connect(settings, SERVICE, autocommit=True)))
    try:
        with guarded(settings, SERVICE, lambda item: isinstance(item.value, PoisonError)) as guard:
            consume(settings, admin, checked, companions, guard, relay, prover)
    finally:
        companions.end()


def consume(
    settings: Settings,
    admin: KafkaAdmin,
    checked: CheckedTopics,
    companions: Companions,
    guard: Guard,
    relay: OutboxRelay,
    prover: Prover,
) -> None:
    """Store blocks until the process is to end."""
    work, events = Work(), EventPublisher(settings)
    pipeline = blocks(settings, admin, checked.ids, checked.partitions, work, guard, prover)
    reporter = Reporter(
        SERVICE,
        work,
        pipeline.progress,
        events.publish,
        instance=settings.slot or f"{socket.gethostname()}:{os.getpid()}",
        chain_id=settings.chain_id,
        write_stage="write",
    )
    if settings.metrics_port:
        from services.persister.metrics import serve

        serve(
            settings.metrics_port,
            pipeline.progress,
            lambda: of_loop(pipeline.progress, time.monotonic(), (relay.outage, guard.watch.outage)),
        )

    def between_turns() -> bool:
        reporter.tick()
        return companions.stop()

    try:
        pipeline.run(between_turns)
    finally:
        reporter.close()
        events.close()


def prover_of(settings: Settings) -> Prover:
    """Return what proves blocks that came without a checksum; raises UserError for models that do not fit."""
    return Prover(
        rules_for(settings.chain_id),
        load_models(settings.models),
        wrapped_native(settings.chain_id),
        cast("Mode", settings.verify),
    )


def blocks(
    settings: Settings,
    admin: KafkaAdmin,
    ids: Mapping[str, str],
    partitions: int,
    work: Work,
    guard: Guard,
    prover: Prover,
) -> Pipeline[Item]:
    """Return the loop over `blocks.decoded`."""
    topics = load_topics(settings.topic_prefix)
    group = settings.topic_prefix + PERSISTER_GROUP
    source = KafkaSource(config.consumer(settings, PERSISTER_GROUP, "cooperative-sticky"), {topics.decoded: 1})
    to = Destination(
        settings.chain_id, group, partitions, topics.dlq, ids.__getitem__, os.environ.get("INDEXER_BUILD", "")
    )

    def committed(handled: Sequence[Handled[Item]], offsets: Offsets) -> None:
        tell(work.tally, handled)
        source.commit_for_lag_tools(offsets)

    compiled = native.load(settings.native)
    log.info("rows are made %s", "in Python" if compiled is None else "by compiled code, and unusual ones in Python")
    sink = OffsetsSink(
        RowConnections(settings),
        Progress(group, admin.topic_ids, guard.caution.found, guard.caution.marker),
        BlockWriter(to, PartitionKeeper(settings), fault=hook, work=work, native=compiled),
        committed,
        fault=hook,
        work=work,
    )
    pace = Pace(
        seconds=settings.persist_seconds,
        results=settings.persist_blocks,
        bytes=settings.persist_mib * _MIB,
        under_way=2 * settings.persist_blocks,
        held_bytes=2 * settings.persist_mib * _MIB,
    )
    handler = BlockHandler(settings.chain_id, partitions, work, compiled, guard.judge, prover)
    return Pipeline(source, handler, sink, time.monotonic, pace, watch=guard.watch, caution=guard.caution)


def tell(tally: Tally, handled: Sequence[Handled[Item]]) -> None:
    """Count what was committed."""
    for each in handled:
        value = each.result.value
        if isinstance(value, PackedBlock):
            tally.block(value.number, each.size, value.job_id)
        elif isinstance(value, PoisonError):
            tally.failures[value.code] += 1


def letters(settings: Settings, admin: KafkaAdmin, ids: Mapping[str, str]) -> Pipeline[DeadRecord]:
    """Return the loop over `blocks.dlq`."""
    topics = load_topics(settings.topic_prefix)
    group = settings.topic_prefix + LETTER_GROUP
    consumer = config.consumer(settings, LETTER_GROUP, "cooperative-sticky", queue_kib=2 * 1024)
    source = KafkaSource(consumer, {topics.dlq: 1}, poll_bytes=_MIB)
    compiled = native.load(settings.native)
    log.info("rows are made %s", "in Python" if compiled is None else "by compiled code, and unusual ones in Python")
    sink = OffsetsSink(
        RowConnections(settings),
        Progress(group, admin.topic_ids),
        LetterWriter(settings.chain_id, PartitionKeeper(settings)),
        lambda _, offsets: source.commit_for_lag_tools(offsets),
    )
    pace = Pace(seconds=0.2, results=100, bytes=4 * _MIB, under_way=200, held_bytes=4 * _MIB)
    return Pipeline(source, LetterHandler(settings.chain_id, ids.__getitem__), sink, time.monotonic, pace)


def _relay(settings: Settings) -> OutboxRelay:
    topic = load_topics(settings.topic_prefix).dlq
    producer = config.producer(settings) | {"queue.buffering.max.kbytes": 40 * 1024}
    return OutboxRelay(producer, topic, RowConnections(settings).open)


if __name__ == "__main__":
    sys.exit(service.run(SERVICE, main))
