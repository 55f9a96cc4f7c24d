"""A consumer as small as can be, run as a process of its own: what comes in goes out, in Kafka transactions.

`python -m tests.support.copier`, with a deployment's settings in the environment: from <prefix>in to <prefix>out.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from indexer import service
from indexer.inflight import Record, TopicPartition
from indexer.kafka import config
from indexer.kafka.source import KafkaSource
from indexer.kafka.transactions import KafkaTransactionSink
from indexer.outputs import Output
from indexer.pipeline import Handled, Pace, Pipeline
from indexer.settings import Settings

log = logging.getLogger(__name__)


class Copy:
    """Each record's result is the same record on another topic."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._done: list[Handled[Sequence[Output]]] = []

    def submit(self, records: Sequence[Record]) -> None:
        for record in records:
            output = Output(self._topic, record.partition, record.key, record.value)
            self._done.append(Handled(record.source, record.offset, (output,), output.size))

    def completed(self, timeout: float) -> Sequence[Handled[Sequence[Output]]]:
        done, self._done = self._done, []
        return done

    def room(self) -> int:
        return 50

    def forget(self, sources: Collection[TopicPartition]) -> None:
        self._done = [each for each in self._done if each.source not in sources]

    def close(self) -> None:
        pass


def copier(settings: Settings, assignor: str = "range") -> Pipeline[Sequence[Output]]:
    source = KafkaSource(config.consumer(settings, "copier", assignor), {settings.topic_prefix + "in": 1})
    transactional = config.transactional(settings, f"copier-{settings.slot}")
    sink = KafkaTransactionSink(transactional, source.group_metadata)
    handler = Copy(settings.topic_prefix + "out")
    return Pipeline(source, handler, sink, time.monotonic, Pace(seconds=0.02, results=50))


@contextmanager
def at_work(pipeline: Pipeline[Sequence[Output]]) -> Iterator[list[BaseException]]:
    """Run it on a thread until the block ends; yields what it died of, an empty list while it lives."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            pipeline.run(stop.is_set)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield failures
    finally:
        log.info("%s", pipeline.progress)  # shown where it fails
        stop.set()
        worker.join(60)


def main(settings: Settings, stop: Callable[[], bool]) -> None:
    copier(settings).run(stop)


if __name__ == "__main__":
    sys.exit(service.run("copier", main))
