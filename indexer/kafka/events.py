"""Outcome records on `pipeline.events`: at least once, and never worth waiting for."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException, Producer

from indexer import codec
from indexer.kafka import config
from indexer.records import Outcome
from indexer.settings import Settings
from indexer.topics import EVENTS

log = logging.getLogger(__name__)


class EventPublisher:
    """Publishes what happened; a failure is logged and forgotten."""

    def __init__(self, settings: Settings) -> None:
        small = {"queue.buffering.max.kbytes": 1024, "linger.ms": 100, "message.timeout.ms": 30_000}
        self._producer = Producer({**config.producer(settings), **small})
        self._topic = settings.topic_prefix + EVENTS

    def publish(self, outcome: Outcome) -> None:
        key = f"{outcome.service}:{outcome.instance}".encode()
        try:
            self._producer.produce(self._topic, codec.encode_outcome(outcome), key)
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            log.info("an outcome was not published: %s", error)

    def close(self, seconds: float = 2.0) -> None:
        try:
            self._producer.flush(seconds)
        except KafkaException as error:
            log.info("outcomes were not published: %s", error)
