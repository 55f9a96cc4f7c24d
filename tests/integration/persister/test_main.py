"""The whole persister on a real Kafka and PostgreSQL: records in, rows, letters and positions out."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from indexer.checksum import sealed
from indexer.codec import block_key, encode_block
from indexer.kafka import config
from indexer.kafka.admin import KafkaAdmin
from indexer.outputs import Headers
from indexer.settings import Settings
from indexer.storage import engine
from indexer.topics import load_topics, partition_of
from services.persister.connections import RowConnections
from services.persister.main import main
from services.persister.outbox import OutboxRelay
from tests.integration.persister.harness import heights, rows, state
from tests.support.blocks import BlockMaker
from tests.support.command_line import variables
from tests.support.kafka_topics import TestKafka, until

pytestmark = pytest.mark.integration
make = BlockMaker()


@pytest.fixture
def ready(deployment: Settings) -> Settings:
    return replace(deployment, slot="0", partition_blocks=1000, persist_seconds=0.05)


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """Run a persister on a thread; what it raises fails the test."""
    ended = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            main(settings, ended.is_set)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)
    assert not raised, raised
    assert not thread.is_alive()


def send(settings: Settings, numbers: range, kafka: TestKafka) -> None:
    topics = load_topics(settings.topic_prefix)
    partitions = topics["blocks.decoded"].partitions
    for number in numbers:
        value, key = encode_block(make(number)), block_key(43114, number)
        kafka.produce(topics.decoded, partition_of(number, partitions), value, key=key, headers=sealed((), value))


def send_altered(settings: Settings, kafka: TestKafka) -> tuple[bytes, Headers]:
    """Send a block whose value is another one's, and one that nobody proved; return what lies on the topic first."""
    topics = load_topics(settings.topic_prefix)
    partition = partition_of(7, topics["blocks.decoded"].partitions)
    value, headers = encode_block(make(7, generation=9)), sealed((("trace", b"x"),), encode_block(make(7)))
    kafka.produce(topics.decoded, partition, value, key=block_key(43114, 7), headers=headers)
    kafka.produce(topics.decoded, partition, encode_block(make(7)), key=block_key(43114, 7))
    return value, headers


def built(reader: psycopg.Connection) -> bool:
    name = "logs_p0_address_topic0_block_number_idx"
    return rows(reader, "SELECT 1 FROM pg_indexes WHERE indexname = %s", name) != []


def test_a_record_that_was_altered_is_a_letter_with_its_bytes_and_headers(
    ready: Settings, reader: psycopg.Connection
) -> None:
    value, headers = send_altered(ready, TestKafka(ready.kafka_bootstrap_servers))

    with running(ready):
        until(lambda: len(rows(reader, "SELECT * FROM dead_letters")) == 2, "both letters are indexed")

    altered, unproven = rows(
        reader, "SELECT code, block_number, record_value, record_headers FROM dead_letters ORDER BY origin_offset"
    )
    own = tuple((name, bytes.fromhex(text)) for name, text in altered[3] if not name.startswith(("x-dlq-", "__")))
    assert (altered[0], altered[1], bytes(altered[2]), own) == ("CHECKSUM_MISMATCH", 7, value, headers)
    assert unproven[:2] == ("RECORD_NOT_GENUINE", 7)
    assert heights(reader) == []


@pytest.fixture
def reader(ready: Settings) -> Iterator[psycopg.Connection]:
    with psycopg.connect(ready.database_url, autocommit=True) as connection:
        yield connection


def test_records_become_rows_letters_and_positions(ready: Settings, reader: psycopg.Connection) -> None:
    kafka = TestKafka(ready.kafka_bootstrap_servers)
    topics = load_topics(ready.topic_prefix)
    send(ready, range(0, 640, 40), kafka)
    kafka.produce(topics.decoded, 3, b"garbage", key=b"43114:7")

    with running(ready):
        until(lambda: len(heights(reader)) == 16, "all blocks are stored")
        until(lambda: rows(reader, "SELECT code FROM dead_letters") == [("NOT_AVRO",)], "the letter is indexed")
        until(lambda: rows(reader, "SELECT * FROM outbox") == [], "the outbox is empty")
        until(lambda: built(reader), "the leaf has its index")

    send(ready, range(1000, 1064), kafka)
    with running(ready):
        until(lambda: len(heights(reader)) == 80, "it goes on where it stopped")

    assert state(reader).rows["blocks"] == 80
    assert rows(reader, "SELECT count(*) FROM dead_letters") == [(1,)]
    assert rows(reader, "SELECT count(*) FROM consumer_progress WHERE backend_pid IS NOT NULL") == [(0,)]
    group = ready.topic_prefix + "persister"
    stored = dict(rows(reader, "SELECT partition, next_offset FROM consumer_progress WHERE consumer_group = %s", group))
    assert all(
        kafka.committed(group, topics.decoded, partition) == offset for partition, offset in stored.items() if offset
    )


def test_a_missing_table_or_topic_is_one_line_and_exit_code_2(ready: Settings, database_url: str) -> None:
    unmigrated = _run(replace(ready, database_url=database_url))
    KafkaAdmin(ready).delete(load_topics(ready.topic_prefix).names)
    no_topics = _run(ready)

    assert unmigrated.returncode == no_topics.returncode == 2
    assert "indexer db migrate" in unmigrated.stderr
    assert "indexer topics apply" in no_topics.stderr
    for done in (unmigrated, no_topics):
        assert "Traceback" not in done.stderr


def test_a_letter_that_was_published_leaves_the_outbox(ready: Settings, reader: psycopg.Connection) -> None:
    topic = load_topics(ready.topic_prefix).dlq
    for name in (topic, topic, "somebody.elses"):
        reader.execute(
            "INSERT INTO outbox (topic, partition, record_key, record_value, record_headers)"
            " VALUES (%s, 1, 'k', 'v', '[[\"n\", \"00\"], [\"m\", null]]')",
            (name,),
        )
    relay = OutboxRelay(config.producer(ready), topic, RowConnections(ready).open)

    assert (relay.run_once(), relay.run_once()) == (2, 0)

    assert rows(reader, "SELECT topic FROM outbox") == [("somebody.elses",)]
    relay.close()


def test_a_letter_that_is_published_twice_by_a_kill_is_one_letter(
    ready: Settings, reader: psycopg.Connection, tmp_path: Path
) -> None:
    kafka, topics = TestKafka(ready.kafka_bootstrap_servers), load_topics(ready.topic_prefix)
    kafka.produce(topics.decoded, 3, b"garbage", key=b"43114:7")
    (tmp_path / "persister.between-publish-and-delete").write_text("kill")

    killed = _run(ready, FAULT_HOOKS=str(tmp_path))
    with running(ready):
        until(lambda: rows(reader, "SELECT * FROM outbox") == [], "the outbox is empty")
        until(lambda: len(kafka.read(topics.dlq, 12)) == 2, "the letter was published again")
        until(lambda: _read_to_the_end(reader, ready, topics.dlq, kafka), "both are read")

    assert killed.returncode == -signal.SIGKILL
    assert rows(reader, "SELECT code, state FROM dead_letters") == [("NOT_AVRO", "open")]


def _read_to_the_end(reader: psycopg.Connection, settings: Settings, topic: str, kafka: TestKafka) -> bool:
    group = settings.topic_prefix + "persister-dlq"
    read = "SELECT sum(next_offset) FROM consumer_progress WHERE consumer_group = %s"
    return rows(reader, read, group) == [(sum(kafka.end(topic, partition) for partition in range(12)),)]


def test_one_relay_works_at_a_time(ready: Settings, reader: psycopg.Connection) -> None:
    topic = load_topics(ready.topic_prefix).dlq
    reader.execute(
        "INSERT INTO outbox (topic, partition, record_headers) VALUES (%s, 0, '[]')",
        (topic,),
    )
    relay = OutboxRelay(config.producer(ready), topic, RowConnections(ready).open)
    with engine.connect(ready, "other") as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (0x1D8E_0004, topic))

        assert relay.run_once() == 0

    assert relay.run_once() == 1
    relay.close()


def test_a_relay_without_a_database_tries_again(ready: Settings) -> None:
    away = replace(ready, database_url="postgresql://u:p@127.0.0.1:1/x")

    assert OutboxRelay(config.producer(ready), "t", RowConnections(away).open).run_once() == 0


def _run(settings: Settings, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "services.persister.main"],
        env={"PATH": "", **{k: v for k, v in variables(settings).items() if v}, **more},
        capture_output=True,
        text=True,
        timeout=60,
    )
