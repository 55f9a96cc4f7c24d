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

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from indexer import stack
from indexer.stack import process

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

BIG = 32 * 1024 * 1024
CONSUMER_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@pytest.fixture
def folder() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="stack-"))
    yield parent / "data"
    stack.wipe(parent / "data")
    shutil.rmtree(parent)


def indexer(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "INDEXER_TEST_STACK"}
    env = {key: value for key, value in os.environ.items() if key not in own} | environment
    command = [sys.executable, "-m", "indexer.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def processes_of(folder: Path) -> list[str]:
    """The command lines of everything that runs with `folder` among its arguments."""
    shown = subprocess.run(["ps", "-A", "-ww", "-o", "stat=,args="], capture_output=True, text=True).stdout
    return [line for line in shown.splitlines() if str(folder) in line and not line.startswith("Z")]


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


def test_a_stack_goes_up_is_used_survives_kills_and_goes_down(folder: Path) -> None:
    up = indexer("stack", "up", "--data-dir", folder)
    assert up.returncode == 0, up.stderr
    again = indexer("stack", "up", "--data-dir", folder)
    shown = json.loads(indexer("stack", "status", "--json", "--data-dir", folder).stdout)
    env = indexer("stack", "env", "--data-dir", folder)
    found = stack.connect(folder)
    create(found.bootstrap_servers, "t", 1)
    send(found.bootstrap_servers, "t", os.urandom(BIG))
    with psycopg.connect(found.database_url) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")

    found.kill_broker(0)
    found.kill_postgres()
    broken = indexer("stack", "status", "--data-dir", folder)
    found.start_postgres()
    found.start_broker(0)
    values = read(found.bootstrap_servers, "t", 1)
    with psycopg.connect(found.database_url) as connection:
        rows = connection.execute("SELECT x FROM t").fetchall()
    groups = stack.kafka_tool(CONSUMER_GROUPS, "--bootstrap-server", found.bootstrap_servers, "--list")
    down = indexer("stack", "down", "--data-dir", folder)

    assert "already up" in again.stdout
    assert shown["up"] is True
    assert [broker["up"] for broker in shown["kafka"]["brokers"]] == [True]
    assert f"export KAFKA_BOOTSTRAP_SERVERS={shown['kafka']['bootstrap_servers']}" in env.stdout
    assert "export DATABASE_URL=postgresql://" in env.stdout
    assert broken.returncode == 1
    assert "broker 0  DOWN" in broken.stdout
    assert [len(value) for value in values] == [BIG]
    assert rows == [(1,)]
    assert groups.split() == ["t"]
    assert down.stdout == "stopped\n"
    assert processes_of(folder) == []
    assert indexer("stack", "status", "--data-dir", folder).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stack_that_is_killed_while_it_starts_leaves_nothing_running(folder: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "indexer.cli", "stack", "up", "--data-dir", str(folder)]
    starting = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def both_run() -> bool:
        shown = " ".join(processes_of(folder))
        return "kafka.Kafka" in shown and "postgres -D" in shown

    assert process.wait_until(both_run, 60)
    starting.send_signal(number)
    starting.communicate()

    assert starting.returncode != 0
    assert process.wait_until(lambda: processes_of(folder) == [], 15)
    assert indexer("stack", "env", "--data-dir", folder).returncode == 2


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
