"""`indexer stack`, as a user and a test session meet it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from indexer import stack
from indexer.cli.stack import stack as commands
from indexer.errors import UserError
from indexer.stack import process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SERVERS = ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL")
BIG = 32 * 1024 * 1024
CONSUMER_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture
def folder() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="stack-"))
    yield parent / "data"
    stack.wipe(parent / "data")
    shutil.rmtree(parent)


def indexer_stack(*arguments: str | Path, **environment: str) -> Result:
    """Run `indexer stack …` here, without what the environment says about servers."""
    cleared: dict[str, str | None] = dict.fromkeys(SERVERS)
    return CliRunner(env=cleared | environment).invoke(commands, [*map(str, arguments)])


def processes_of(folder: Path) -> list[str]:
    """The command lines of everything that runs with `folder` among its arguments."""
    shown = subprocess.run(["ps", "-A", "-ww", "-o", "stat=,args="], capture_output=True, text=True).stdout
    return [line for line in shown.splitlines() if str(folder) in line and not line.startswith("Z")]


def freeze_broker(folder: Path) -> bool:
    """Stop the broker as soon as it runs: `up` cannot be done then before a signal comes."""
    for each in psutil.process_iter(["cmdline"]):
        words = each.info["cmdline"] or [""]
        if words[0].endswith("java") and "kafka.Kafka" in words and str(folder) in " ".join(words):
            each.suspend()
            return True
    return False


def send(servers: str, topic: str, value: bytes) -> None:
    """Write one record, acknowledged by all replicas in sync."""
    settings = {"bootstrap.servers": servers, "message.max.bytes": 35_000_000, "acks": "all", "log_level": 0}
    producer = Producer(settings)
    failed: list[object] = []
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _message: failed.append(error))
    assert producer.flush(30) == 0
    assert failed == [None]


def read(servers: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 35_000_000,
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    messages = consumer.consume(count, timeout=30)
    consumer.commit(asynchronous=False)
    consumer.close()
    return [message.value() or b"" for message in messages]


def create(servers: str, topic: str, replicas: int) -> None:
    settings = {"max.message.bytes": "34000000"}
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, replicas, config=settings)])[topic].result(30)


def coordinators_answer(servers: str) -> None:
    """Groups and transactions are asked once, as the first service does; raises where a coordinator still loads."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "none"})
    consumer.committed([TopicPartition("t", 0)], 5)
    consumer.close()
    Producer({"bootstrap.servers": servers, "transactional.id": "none"}).init_transactions(5)


def test_a_stack_goes_up_is_used_survives_kills_and_goes_down(folder: Path) -> None:
    up = indexer_stack("up", "--data-dir", folder)
    assert up.exit_code == 0, up.output
    again = indexer_stack("up", "--data-dir", folder)
    shown = json.loads(indexer_stack("status", "--json", "--data-dir", folder).stdout)
    env = indexer_stack("env", "--data-dir", folder)
    found = stack.connect(folder)
    coordinators_answer(found.bootstrap_servers)
    create(found.bootstrap_servers, "t", 1)
    send(found.bootstrap_servers, "t", os.urandom(BIG))
    with psycopg.connect(found.database_url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")

    found.kill_broker(0)
    found.kill_postgres()
    broken = indexer_stack("status", "--data-dir", folder)
    found.start_postgres()
    found.start_broker(0)
    found.kill_postgres()
    repaired = indexer_stack("up", "--data-dir", folder)
    assert repaired.exit_code == 0, (repaired.output, repaired.exception)
    values = read(found.bootstrap_servers, "t", 1)
    with psycopg.connect(found.database_url) as connection:
        rows = connection.execute("SELECT x FROM t").fetchall()
    groups = stack.kafka_tool(CONSUMER_GROUPS, "--bootstrap-server", found.bootstrap_servers, "--list")
    down = indexer_stack("down", "--data-dir", folder)

    assert "already up" in again.stdout
    assert shown["up"] is True
    assert [broker["up"] for broker in shown["kafka"]["brokers"]] == [True]
    assert f"export KAFKA_BOOTSTRAP_SERVERS={shown['kafka']['bootstrap_servers']}" in env.stdout
    assert "export DATABASE_URL=postgresql://" in env.stdout
    assert broken.exit_code == 1
    assert "broker 0  DOWN" in broken.stdout
    assert [len(value) for value in values] == [BIG]
    assert rows == [(1,)]
    assert groups.split() == ["t"]
    assert down.stdout == "stopped\n"
    assert processes_of(folder) == []
    assert indexer_stack("status", "--data-dir", folder).exit_code == 1


def test_a_kafka_of_the_users_own_is_used_and_only_the_database_started(folder: Path, kafka: str) -> None:
    up = indexer_stack("up", "--data-dir", folder, KAFKA_BOOTSTRAP_SERVERS=kafka)
    shown = json.loads(indexer_stack("status", "--json", "--data-dir", folder).stdout)
    down = indexer_stack("down", "--wipe", "--data-dir", folder)

    assert f"Kafka: using {kafka} (KAFKA_BOOTSTRAP_SERVERS)" in up.output
    assert shown["up"] is True
    assert shown["kafka"] == {"bootstrap_servers": kafka, "external": True, "brokers": [], "up": True}
    assert down.stdout == "stopped, data removed\n"
    assert not folder.exists()
    assert processes_of(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stack_that_is_killed_while_it_starts_leaves_nothing_running(folder: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "indexer.cli", "stack", "up", "--data-dir", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name not in SERVERS}
    starting = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    assert process.wait_until(lambda: freeze_broker(folder), 60)
    assert process.wait_until(lambda: "postgres -D" in " ".join(processes_of(folder)), 60)
    starting.send_signal(number)
    starting.communicate()

    assert starting.returncode != 0
    assert process.wait_until(lambda: processes_of(folder) == [], 15)
    assert isinstance(indexer_stack("env", "--data-dir", folder).exception, UserError)


def test_a_test_sessions_stack_vanishes_with_the_session(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from indexer import stack;"
        "s = stack.start(Path(sys.argv[1]), 1, die_with_parent=True, remove_with_parent=True);"
        "print(s.bootstrap_servers, flush=True); sys.stdin.read()"
    )
    session = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert session.stdout is not None
    assert "127.0.0.1" in session.stdout.readline()

    session.kill()
    session.communicate()

    assert process.wait_until(lambda: processes_of(folder) == [], 15)
    assert process.wait_until(lambda: not folder.exists(), 15)


def test_three_brokers_go_on_without_one(folder: Path) -> None:
    found = stack.start(folder, 3, die_with_parent=True)
    servers = found.bootstrap_servers
    create(servers, "t", 3)
    send(servers, "t", os.urandom(BIG))

    found.kill_broker(1)
    send(servers, "t", b"without one")
    found.start_broker(1)
    found.stop_broker(2)
    send(servers, "t", b"without another")
    values = read(servers, "t", 3)

    assert [len(values[0]), *values[1:]] == [BIG, b"without one", b"without another"]
    assert sorted(found.broker_pids) == [0, 1]
    found.stop(graceful=False)
    assert processes_of(folder) == []
