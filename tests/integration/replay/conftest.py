"""A deployment with dead letters, and replays as processes that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from indexer import codec
from indexer.settings import Settings
from indexer.storage.jobs import Connection
from indexer.topics import load_topics
from tests.integration.persister.harness import Persister
from tests.support.blocks import BlockMaker
from tests.support.command_line import variables
from tests.support.kafka_topics import TestKafka

PARTITIONS = 12
make = BlockMaker()


class Desk:
    """Where letters are replayed, and what comes of it."""

    def __init__(self, settings: Settings, connection: Connection, folder: Path) -> None:
        self.settings, self.connection = settings, connection
        self._kafka = TestKafka(settings.kafka_bootstrap_servers)
        self._topics = load_topics(settings.topic_prefix)
        self.faults = folder / "faults"
        self.faults.mkdir()

    def replay(self, *arguments: object, order: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `indexer dlq replay` as a process; `order` is where it is to be killed."""
        if order is not None:
            (self.faults / order).write_text("kill")
        done = subprocess.run(
            [sys.executable, "-m", "indexer.cli", "dlq", "replay", *map(str, arguments)],
            cwd=self.faults.parent,
            env={**os.environ, **variables(self.settings), "FAULT_HOOKS": str(self.faults)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        sys.stderr.write(f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}")  # shown when the test fails
        return done

    def interrupt(self, *arguments: object, at: str, by: signal.Signals = signal.SIGINT) -> int:
        """Run a replay as a script's `… &` does, with SIGINT ignored; signal it at a place; return its exit code."""
        (self.faults / at).write_text("stop")
        with subprocess.Popen(
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "indexer.cli", "dlq", "replay"]
            + [str(each) for each in arguments],
            cwd=self.faults.parent,
            env={**os.environ, **variables(self.settings), "FAULT_HOOKS": str(self.faults)},
        ) as process:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            process.send_signal(by)
            process.send_signal(signal.SIGCONT)
            return process.wait(60)

    def fired(self) -> int:
        return sum(1 for path in self.faults.iterdir() if ".fired." in path.name)

    def records(self) -> list[Message]:
        """What a reader of the work topics sees."""
        return [message for topic in self._topics.work for message in self._kafka.read(topic, PARTITIONS)]

    @contextmanager
    def reading(self) -> Iterator[list[float]]:
        """Read the work topics as a decoder does meanwhile; yields how long each record was held up, in seconds."""
        delays, ended = list[float](), threading.Event()
        thread = threading.Thread(target=self._read, args=(delays, ended))
        thread.start()
        try:
            yield delays
        finally:
            ended.set()
            thread.join()

    def _read(self, delays: list[float], ended: threading.Event) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self.settings.kafka_bootstrap_servers, "group.id": "nobody", "fetch.wait.max.ms": 100}
        )
        consumer.assign([TopicPartition(topic, p, 0) for topic in self._topics.work for p in range(PARTITIONS)])
        while (message := consumer.poll(1.0)) is not None or not ended.is_set():
            if message is not None and message.error() is None:
                delays.append(time.time() - message.timestamp()[1] / 1000)
        consumer.close()

    @contextmanager
    def feeding(self) -> Iterator[list[int]]:
        """Publish to all partitions of the work topics meanwhile, as others do; yields the partition of each record."""
        producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers, "linger.ms": 0})
        partitions = [(topic, p) for topic in self._topics.work for p in range(PARTITIONS)]
        fed, ended = list[int](), threading.Event()

        def feed() -> None:
            while not ended.wait(0.05):
                for topic, partition in partitions:
                    producer.produce(topic, b"", partition=partition)
                    fed.append(partition)
                producer.poll(0)

        thread = threading.Thread(target=feed)
        thread.start()
        try:
            yield fed
        finally:
            ended.set()
            thread.join()
            producer.flush(10)

    def replayed(self) -> Counter[int]:
        """How often each block was asked for."""
        return Counter(codec.decode_work_item(message.value() or b"").number for message in self.records())

    def store(self, *numbers: int) -> None:
        persister = Persister(self.settings).own()
        persister.write(*(make(number) for number in numbers))
        persister.close()


@pytest.fixture
def desk(deployment: Settings, database: Connection, tmp_path: Path) -> Desk:
    return Desk(deployment, database, tmp_path)
