"""Wires the producer: settings → PostgreSQL, Kafka, nodes → its two loops. `python -m services.producer.main`."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable

from indexer import service
from indexer.health import Signs
from indexer.kafka.admin import KafkaAdmin
from indexer.settings import Settings
from indexer.storage import engine
from indexer.storage.jobs import Connection
from indexer.topics import DECODED, WORK, load_topics
from services.producer.follower import Pulse
from services.producer.head_loop import HeadLoop
from services.producer.lag import LagReader
from services.producer.loop import ProducerLoop
from services.producer.publisher import Publisher
from services.producer.redrive import Redrive
from services.producer.turns import Turns, keep_turning


def main(settings: Settings, stop: Callable[[], bool]) -> None:
    settings.require("kafka_bootstrap_servers", "database_url")
    topics = load_topics(settings.topic_prefix)
    partitions = KafkaAdmin(settings).check(topics, *WORK, DECODED).partitions
    connection = _connect(engine.connect(settings, "producer", autocommit=True))
    owner = f"{socket.gethostname()}:{os.getpid()}:{settings.slot}"
    work = dict(zip(("high", "normal", "low"), topics.work, strict=True))
    lag = LagReader(settings)
    publisher = Publisher(settings, work, partitions)
    loop = ProducerLoop(settings, connection, publisher, lag, owner, partitions, time.monotonic)
    head = HeadLoop(settings, topics, partitions, owner)
    head.start()
    redrive = Redrive(settings, topics, partitions)
    redrive.start()
    turns = Turns(time.monotonic())
    if settings.metrics_port:
        from services.producer.metrics import serve

        serve(settings.metrics_port, head.pulse, lambda: signs(turns, head.pulse, lag))
    try:
        keep_turning(
            loop,
            lambda: _connect(engine.connect(settings, "producer", autocommit=True)),
            lambda: stop() or head.failed(),
            turns,
        )
        loop.close()
    finally:
        redrive.stop()
        head.stop()


def signs(turns: Turns, pulse: Pulse, lag: LagReader) -> Signs:
    """Return what the process knows of itself: of the database, of Kafka where jobs run, of nodes where it follows."""
    return turns.signs(time.monotonic(), (pulse.outage, lag.outage), pulse.paused)


def _connect(connection: Connection) -> Connection:
    """Do not wait for the disk: a crash of the database takes position and coverage back together."""
    connection.execute("SET synchronous_commit = off")
    return connection


if __name__ == "__main__":
    sys.exit(service.run("producer", main))
