"""Consume, transform, produce on a real Kafka: nothing lost, nothing twice, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from indexer.errors import FatalError
from indexer.kafka import config
from indexer.outputs import Output
from indexer.pipeline import Pipeline
from indexer.settings import Settings
from tests.support.copier import copier
from tests.support.kafka_topics import TestKafka, until
from tests.support.processes import Processes, ended, running

pytestmark = pytest.mark.integration

COPIER = "tests.support.copier"
BETWEEN = "decoder.between-produce-and-commit"


class World:
    def __init__(self, servers: str, prefix: str, folder: Path, protocol: str, replicas: int = 1) -> None:
        self.settings = Settings(
            kafka_bootstrap_servers=servers,
            topic_prefix=prefix,
            group_protocol=protocol,
            session_timeout_seconds=6.0,
            slot="here",
        )
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "TOPIC_PREFIX": prefix,
            "GROUP_PROTOCOL": protocol,
            "SESSION_TIMEOUT_SECONDS": "6",
            "LOG_LEVEL": "info",
        }
        self.folder = folder
        self.kafka = TestKafka(servers)
        self.source, self.target = prefix + "in", prefix + "out"
        self.kafka.create(self.source, self.target, partitions=4, replicas=replicas)
        self.sent: list[bytes] = []

    def send(self, count: int) -> None:
        new = [b"%d" % number for number in range(len(self.sent), len(self.sent) + count)]
        for partition in range(4):
            self.kafka.produce(self.source, partition, *(value for value in new if int(value) % 4 == partition))
        self.sent += new

    def arrived(self) -> list[bytes]:
        return self.kafka.values(self.target, 4)

    def all_arrived(self) -> bool:
        return len(self.arrived()) >= len(self.sent)

    def assert_exactly_once_in_order(self) -> None:
        for partition in range(4):
            expected = [value for value in self.sent if int(value) % 4 == partition]
            found = [m.value() for m in self.kafka.read(self.target, 4) if m.partition() == partition]
            assert found == expected

    def seen_uncommitted(self) -> int:
        return len(self.kafka.values(self.target, 4, "read_uncommitted"))


@pytest.fixture(params=["classic", "consumer"])
def world(request: pytest.FixtureRequest, kafka: str, topic_prefix: str, tmp_path: Path) -> World:
    return World(kafka, topic_prefix, tmp_path, request.param)


@pytest.fixture
def processes(world: World) -> Iterator[Processes]:
    with running(world.folder, world.environment) as processes:
        yield processes


def step_until(pipeline: Pipeline[Any], happened: Callable[[], object], seconds: float = 30.0) -> None:
    def step() -> object:
        pipeline.step()
        return happened()

    until(step, "the pipeline gets there", seconds)


def test_a_kill_between_produce_and_commit_loses_and_doubles_nothing(world: World, processes: Processes) -> None:
    world.send(200)
    for round_number in range(1, 4):
        processes.order(BETWEEN, "kill")
        process = processes.start(COPIER)
        assert ended(process) == -signal.SIGKILL
        assert processes.fired(BETWEEN) == round_number
        world.send(50)

    processes.start(COPIER)

    until(world.all_arrived, "all records arrive", 40)
    world.assert_exactly_once_in_order()
    assert world.seen_uncommitted() > len(world.sent), "no transaction was under way when the processes were killed"


def test_a_kill_after_the_commit_loses_and_doubles_nothing(world: World, processes: Processes) -> None:
    world.send(200)
    processes.order("decoder.after-commit", "kill")
    assert ended(processes.start(COPIER)) == -signal.SIGKILL
    world.send(50)

    processes.start(COPIER)

    until(world.all_arrived, "all records arrive", 40)
    world.assert_exactly_once_in_order()


def test_a_zombie_cannot_commit_and_recovers(world: World, processes: Processes) -> None:
    world.send(100)
    processes.order(BETWEEN, "stop", slot="0")
    zombie = processes.start(COPIER, slot="0")
    until(lambda: processes.fired(BETWEEN) == 1, "the first process is frozen in a transaction")

    processes.start(COPIER, slot="1")
    until(world.all_arrived, "the second process takes over", 60)
    zombie.send_signal(signal.SIGCONT)
    world.send(100)

    until(world.all_arrived, "all records arrive", 60)
    assert zombie.poll() is None
    world.assert_exactly_once_in_order()
    assert world.seen_uncommitted() > len(world.sent)


def test_leaving_and_joining_while_records_flow_loses_and_doubles_nothing(world: World, processes: Processes) -> None:
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            world.send(10)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        first = processes.start(COPIER, slot="0")
        until(lambda: len(world.arrived()) > 20, "the first process works")
        processes.start(COPIER, slot="1")
        before = len(world.arrived())
        until(lambda: len(world.arrived()) > before + 50, "work goes on with two")
        first.terminate()
        assert ended(first) == 0
        before = len(world.arrived())
        until(lambda: len(world.arrived()) > before + 50, "work goes on with the other")
    finally:
        stop.set()
        sender.join()

    until(world.all_arrived, "all records arrive", 40)
    world.assert_exactly_once_in_order()


def test_a_revoke_commits_what_is_ready(world: World) -> None:
    world.send(40)
    pipeline = copier(world.settings)
    pipeline._source.subscribe(pipeline)

    def poll() -> bool:
        pipeline._poll()
        return len(pipeline._flight) == 40

    until(poll, "all is polled")
    pipeline._collect()

    pipeline._source.close()

    world.assert_exactly_once_in_order()
    assert sum(world.kafka.committed(world.settings.topic_prefix + "copier", world.source, p) for p in range(4)) == 40


def test_a_member_that_was_thrown_out_rewinds_and_nothing_is_doubled(world: World) -> None:
    world.send(20)
    stale = metadata_of_a_member_that_left(world)
    pipeline = copier(world.settings)
    pipeline._source.subscribe(pipeline)
    answers = iter([stale, b"CGMDv2:" + bytes(4) + b"group\0\0\1"])
    sink: Any = pipeline._sink
    fresh = sink._group_metadata
    sink._group_metadata = lambda: next(answers, None) or fresh()

    step_until(pipeline, world.all_arrived)
    world.send(20)
    step_until(pipeline, world.all_arrived)

    assert sink.aborted >= 1
    assert pipeline.progress.rewinds >= 1
    world.assert_exactly_once_in_order()
    pipeline.run(lambda: True)


def metadata_of_a_member_that_left(world: World) -> bytes:
    gone = copier(world.settings)
    source: Any = gone._source
    source.subscribe(gone)
    until(lambda: (source.poll(0, 0.1), gone.progress.assigned)[1], "it joined")
    metadata: bytes = source._fresh_metadata()
    source.close()
    return metadata


def test_a_producer_that_was_fenced_is_replaced_and_one_that_is_fenced_again_and_again_ends_the_process(
    world: World,
) -> None:
    pipeline = copier(world.settings)
    pipeline._source.subscribe(pipeline)
    for _ in range(3):
        world.send(4)
        fence(world)
        step_until(pipeline, world.all_arrived)
    world.send(4)
    fence(world)

    with pytest.raises(FatalError, match="under the same slot"):
        step_until(pipeline, world.all_arrived)

    world.sent = world.sent[:12]
    world.assert_exactly_once_in_order()


def fence(world: World) -> None:
    producer = Producer(config.transactional(world.settings, f"copier-{world.settings.slot}"))
    producer.init_transactions(20)


def test_a_record_that_kafka_refuses_for_its_size_ends_the_process_instead_of_a_loop(world: World) -> None:
    world.kafka.limit_records(world.target, 1000)
    world.kafka.produce(world.source, 0, os.urandom(2000))
    pipeline = copier(world.settings)
    pipeline._source.subscribe(pipeline)

    with pytest.raises(FatalError, match="indexer topics diff"):
        step_until(pipeline, lambda: False)

    assert world.arrived() == []


def test_a_record_of_the_largest_size_passes(world: World) -> None:
    for topic in (world.source, world.target):
        world.kafka.limit_records(topic, config.RECORD_LIMIT)
    value = os.urandom(config.RECORD_LIMIT - 101)
    assert Output(world.target, 0, b"k", value).size == config.RECORD_LIMIT
    world.kafka.produce(world.source, 0, value)
    pipeline = copier(world.settings)
    pipeline._source.subscribe(pipeline)

    step_until(pipeline, lambda: pipeline.progress.written == 1)

    assert world.arrived() == [value]
    pipeline.run(lambda: True)
