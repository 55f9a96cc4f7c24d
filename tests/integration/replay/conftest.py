"""A deployment with dead letters, and replays as processes that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Message

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

    def fired(self) -> int:
        return sum(1 for path in self.faults.iterdir() if ".fired." in path.name)

    def records(self) -> list[Message]:
        """What a reader of the work topics sees."""
        return [message for topic in self._topics.work for message in self._kafka.read(topic, PARTITIONS)]

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
