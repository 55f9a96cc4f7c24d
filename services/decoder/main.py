"""Wires the decoder: settings → RPC pool, Kafka → the loop. `python -m services.decoder.main`."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import cast

from indexer import native, service
from indexer.abi.models import load_models, wrapped_native
from indexer.chain.rules import rules_for
from indexer.chain.verify import Mode
from indexer.errors import FatalError, OutageError, UserError
from indexer.health import of_loop
from indexer.kafka import config
from indexer.kafka.admin import KafkaAdmin
from indexer.kafka.events import EventPublisher
from indexer.kafka.guard import Guard, guarded
from indexer.kafka.source import KafkaSource
from indexer.kafka.transactions import KafkaTransactionSink
from indexer.pipeline import Pace, Pipeline
from indexer.report import Reporter
from indexer.rpc.facade import BlockFetcher
from indexer.rpc.raw import Split
from indexer.rpc.settings import RpcSettings
from indexer.settings import Settings
from indexer.topics import DECODED, DLQ, EVENTS, RETRY, WORK, load_topics
from services.decoder.attempts import due_ms, longest_waits
from services.decoder.fetch import BlockHandler, Outputs
from services.decoder.handler import SERVICE, Decoder
from services.decoder.share import RateShare

log = logging.getLogger(SERVICE)

_WEIGHTS = (16, 4, 2, 4, 2, 1)  # of the work topics from high to low, and of the retry tiers from short to long
_MIB = 1024 * 1024
_JSON_TO_PYTHON = 4  # an answer's dicts and strings occupy about this many times its JSON


def main(settings: Settings, stop: Callable[[], bool]) -> None:
    settings.require("kafka_bootstrap_servers", "rpc_urls")
    core = decoder(settings)
    dlq = core.topics.dlq
    with guarded(settings, SERVICE, lambda outputs: any(each.topic == dlq for each in outputs)) as guard:
        consume(settings, core, guard, stop)


def consume(settings: Settings, core: Decoder, guard: Guard, stop: Callable[[], bool]) -> None:
    """Fetch and decode blocks until the process is to end."""
    fetcher = block_fetcher(settings, split_of(core))
    handler = BlockHandler(
        core,
        fetcher,
        window=settings.decoder_window,
        window_bytes=settings.decoder_window_mib * _MIB // _JSON_TO_PYTHON,
        endpoints=len(settings.rpc_urls),
        judge=guard.judge,
    )
    pipeline = loop(settings, handler, guard)
    events = EventPublisher(settings)
    reporter = Reporter(
        SERVICE, handler, pipeline.progress, events.publish, instance=guard.slot, chain_id=settings.chain_id
    )
    share = RateShare(fetcher.set_share, core.partitions * len(_WEIGHTS))
    if settings.metrics_port:
        from services.decoder.metrics import serve

        serve(
            settings.metrics_port,
            pipeline.progress,
            handler,
            lambda: of_loop(pipeline.progress, time.monotonic(), (handler.outage, guard.watch.outage)),
        )

    def between_turns() -> bool:
        reporter.tick()
        share.tick(len(pipeline.progress.assigned))
        return stop()

    try:
        pipeline.run(between_turns)
    finally:
        reporter.close()
        events.close()


def decoder(settings: Settings) -> Decoder:
    """Return the core; raises UserError for models, topics or settings that do not fit."""
    models = load_models(settings.models)
    topics = load_topics(settings.topic_prefix)
    checked = KafkaAdmin(settings).check(topics, *WORK, *RETRY, DECODED, DLQ, EVENTS)
    return Decoder(
        chain=rules_for(settings.chain_id),
        models=models,
        wrapped=wrapped_native(settings.chain_id),
        mode=cast("Mode", settings.verify),
        topics=topics,
        partitions=checked.partitions,
        topic_ids=checked.ids,
        build=os.environ.get("INDEXER_BUILD", ""),
        native=native_code(settings),
    )


def native_code(settings: Settings) -> ModuleType | None:
    """Return what proves usual blocks; raises UserError where it is required and not built."""
    module = native.load(settings.native)
    log.info("blocks are proven %s", "in Python" if module is None else "by compiled code, and unusual ones in Python")
    return module


def split_of(core: Decoder) -> Split | None:
    """Return what leaves blocks unread for the compiled code; None where every block is read in Python anyway."""
    return None if core.native is None or core.mode != "full" else core.native.split


def block_fetcher(settings: Settings, split: Split | None = None) -> BlockFetcher:
    """Return the RPC pool; raises UserError WRONG_CHAIN. Nodes that do not answer now are checked before their use."""
    rpc = RpcSettings(
        max_rps=settings.rpc_max_rps or None,
        batch_size=settings.rpc_batch_size,
        start_concurrency=min(4, settings.rpc_max_concurrency),
        max_concurrency=settings.rpc_max_concurrency,
        request_timeout_seconds=settings.rpc_timeout_seconds,
        budget_seconds=settings.rpc_budget_seconds,
        confirmations=None if settings.confirmations < 0 else settings.confirmations,
    )
    max_bytes = settings.decoder_window_mib * _MIB // _JSON_TO_PYTHON
    fetcher = BlockFetcher(settings.rpc_urls, rpc, max_blocks=settings.decoder_window, max_bytes=max_bytes, split=split)
    try:
        fetcher.check_chain(settings.chain_id)
    except OutageError as error:
        log.warning("%s; blocks wait until a node answers", error)
    except FatalError as error:
        fetcher.close()
        raise UserError(str(error), code=error.code) from error
    return fetcher


def loop(settings: Settings, handler: BlockHandler, guard: Guard) -> Pipeline[Outputs]:
    """Return the loop over work and retry topics."""
    topics = load_topics(settings.topic_prefix)
    weights = dict(zip((*topics.work, *topics.retry), _WEIGHTS, strict=True))
    consumer = config.consumer(settings, SERVICE, "range", queue_kib=4 * 1024)
    source = KafkaSource(consumer, weights, due_ms=due_ms, longest=longest_waits(topics), described=guard.described)
    transactional = config.transactional(settings, f"{SERVICE}-{guard.slot}")
    sink = KafkaTransactionSink(transactional, source.group_metadata, describe=guard.describe)
    pace = Pace(seconds=settings.commit_seconds, under_way=settings.decoder_window)
    return Pipeline(source, handler, sink, time.monotonic, pace, watch=guard.watch, caution=guard.caution)


if __name__ == "__main__":
    sys.exit(service.run(SERVICE, main))
