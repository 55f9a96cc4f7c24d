"""The servers' settings follow from the layout."""

from __future__ import annotations

from pathlib import Path

from indexer.stack.config import MESSAGE_BYTES, postgres_settings, server_properties
from indexer.stack.layout import Broker, Layout


def layout(brokers: int) -> Layout:
    made = tuple(Broker(number, 12000 + number, 13000 + number) for number in range(brokers))
    return Layout("YWFhYWFhYWFhYWFhYWFhYQ", made, 14000, "secret")


def properties(shape: Layout, number: int = 0) -> dict[str, str]:
    text = server_properties(shape, shape.brokers[number], Path("/data/log"))
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_single_broker_keeps_one_copy_of_everything() -> None:
    found = properties(layout(1))

    assert found["offsets.topic.replication.factor"] == "1"
    assert found["transaction.state.log.min.isr"] == "1"
    assert found["controller.quorum.voters"] == "0@127.0.0.1:13000"


def test_three_brokers_keep_three_copies_and_need_two() -> None:
    found = properties(layout(3), number=2)

    assert found["node.id"] == "2"
    assert found["transaction.state.log.replication.factor"] == "3"
    assert found["transaction.state.log.min.isr"] == "2"
    assert found["share.coordinator.state.topic.min.isr"] == "2"
    assert found["min.insync.replicas"] == "2"
    assert found["controller.quorum.voters"] == "0@127.0.0.1:13000,1@127.0.0.1:13001,2@127.0.0.1:13002"


def test_a_broker_listens_on_the_loopback_interface_only() -> None:
    found = properties(layout(1))

    assert found["listeners"] == "PLAINTEXT://127.0.0.1:12000,CONTROLLER://127.0.0.1:13000"


def test_the_largest_record_passes_the_broker_and_its_replicas() -> None:
    found = properties(layout(3))

    assert int(found["message.max.bytes"]) == int(found["replica.fetch.max.bytes"]) == MESSAGE_BYTES
    assert MESSAGE_BYTES > 33 * 1024 * 1024


def test_a_topic_that_nobody_made_is_an_error() -> None:
    assert properties(layout(1))["auto.create.topics.enable"] == "false"


def test_sessions_of_six_seconds_are_allowed_in_both_protocols() -> None:
    found = properties(layout(1))

    assert found["group.min.session.timeout.ms"] == "6000"
    assert found["group.consumer.session.timeout.ms"] == "6000"
    assert found["group.consumer.heartbeat.interval.ms"] == "1500"


def test_postgres_keeps_fsync_and_uses_lz4_only_where_it_has_it() -> None:
    assert "fsync" not in postgres_settings(14000, lz4=True)
    assert postgres_settings(14000, lz4=True)["wal_compression"] == "lz4"
    assert postgres_settings(14000, lz4=False)["wal_compression"] == "off"
