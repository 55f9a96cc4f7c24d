"""One of three brokers dies: the work goes on elsewhere, and what it left undone is ended when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from indexer import stack
from indexer.inflight import TopicPartition
from indexer.kafka import config, transactions
from indexer.kafka.source import KafkaSource
from indexer.kafka.transactions import KafkaTransactionSink
from indexer.outputs import Output
from indexer.pipeline import Handled, Rewind
from indexer.settings import Settings
from tests.integration.test_transactions import World
from tests.support.copier import at_work, copier
from tests.support.kafka_topics import TestKafka, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

VICTIM = 2


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack.RunningStack]:
    running = stack.start(tmp_path_factory.mktemp("stack"), brokers=3, die_with_parent=True)
    yield running
    running.stop(graceful=False)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing(
    brokers: stack.RunningStack, topic_prefix: str, tmp_path: Path, protocol: str
) -> None:
    world = World(brokers.bootstrap_servers, topic_prefix, tmp_path, protocol, replicas=3)
    world.send(4000)
    pipeline = copier(world.settings)
    victim = world.kafka.leader(world.target)

    with at_work(pipeline) as failures:
        until(lambda: pipeline.progress.written > 50, "work is under way")
        brokers.kill_broker(victim)
        before = pipeline.progress.written
        assert before < 4000
        until(lambda: failures or world.kafka.leader(world.target) != victim, "another broker leads", 60)
        until(lambda: failures or pipeline.progress.written > before, "the work goes on without it", 60)
        brokers.start_broker(victim)
        world.send(200)
        until(lambda: failures or world.all_arrived(), "all records arrive", 90)

    assert failures == []
    world.assert_exactly_once_in_order()


def test_a_transaction_whose_markers_the_brokers_forgot_is_never_seen_and_holds_nobody_up(
    brokers: stack.RunningStack, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KAFKA-20734: a partition that has no leader when a transaction ends is left out."""
    settings = Settings(
        kafka_bootstrap_servers=brokers.bootstrap_servers, topic_prefix=topic_prefix, session_timeout_seconds=6.0
    )
    kafka, admin = TestKafka(brokers.bootstrap_servers), AdminClient({"bootstrap.servers": brokers.bootstrap_servers})
    kafka.create(topic_prefix + "in", partitions=1)
    out = topic_prefix + "out"
    admin.create_topics([NewTopic(out, 1, replica_assignment=[[VICTIM]])])[out].result(60)
    until(lambda: kafka.leader(out) == VICTIM, "the topic has its leader")
    group = KafkaSource(config.consumer(settings, "copier", "range"), {topic_prefix + "in": 1})
    sink = KafkaTransactionSink(config.transactional(settings, "copier"), lambda: group._fresh_metadata() or b"")
    source = TopicPartition(topic_prefix + "in", 0)
    handled = [Handled(source, 7, (Output(out, 0, b"k", b"block 7"),))]

    def lost(place: str) -> None:
        monkeypatch.undo()
        brokers.kill_broker(VICTIM)
        until(lambda: kafka.leader(out) == -1, "the partition has no leader", 60)
        raise transactions._UndecidedError("told by the test")

    monkeypatch.setattr(transactions.faults, "hook", lambda place: lost(place) if "between" in place else None)
    with pytest.raises(Rewind):
        sink.write(handled, {source: 8})
    brokers.start_broker(VICTIM)
    until(lambda: kafka.leader(out) == VICTIM, "the partition has its leader again", 60)
    assert kafka.values(out, 1, "read_uncommitted") == [b"block 7"]

    sink.write(handled, {source: 8})

    sink.close()
    group.close()
    assert kafka.values(out, 1, "read_uncommitted") == [b"block 7", b"", b"block 7"]
    assert kafka.values(out, 1) == [b"block 7"]
