"""A group that the client has left already when it tells of the last rebalance: nothing fences a write, so none is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import TopicPartition as KafkaPartition

from indexer.inflight import TopicPartition
from indexer.kafka import source as source_module
from indexer.kafka.source import KafkaSource
from indexer.pipeline import Offsets, Rewind

PARTITIONS = [KafkaPartition("work", 0), KafkaPartition("work", 1)]


@dataclass
class Client:
    """A consumer of which only the group is missing, once it is told so."""

    config: dict[str, Any]
    left: bool = False
    callbacks: dict[str, Any] = field(default_factory=dict)

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.callbacks = callbacks

    def consumer_group_metadata(self) -> bytes:
        if self.left:
            raise RuntimeError("Consumer group metadata not available")
        return b"CGMDv2:\x00\x00\x00\x01group\x00member-1\x00\x00"

    def incremental_assign(self, partitions: list[KafkaPartition]) -> None: ...
    def incremental_unassign(self, partitions: list[KafkaPartition]) -> None: ...

    def close(self) -> None:
        self.left = True
        self.callbacks["on_revoke"](self, PARTITIONS)


@dataclass
class Listener:
    source: KafkaSource
    heard: list[str] = field(default_factory=list)

    def assigned(self, sources: Collection[TopicPartition]) -> Offsets:
        return dict.fromkeys(sources, 0)

    def revoked(self, sources: Collection[TopicPartition]) -> None:
        with pytest.raises(Rewind, match="not a member"):
            self.source.group_metadata()
        self.heard.append("revoked")

    def lost(self, sources: Collection[TopicPartition]) -> None:
        raise AssertionError("it was given up in order")


@pytest.mark.parametrize(
    "config", [{"partition.assignment.strategy": "cooperative-sticky"}, {"group.protocol": "consumer"}]
)
def test_partitions_are_given_up_in_order_without_the_groups_metadata(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    monkeypatch.setattr(source_module, "Consumer", Client)
    source = KafkaSource(config, {"work": 1})
    listener = Listener(source)
    source.subscribe(listener)
    cast("Client", source._consumer).callbacks["on_assign"](source._consumer, PARTITIONS)
    assert source.group_metadata()

    source.close()

    assert listener.heard == ["revoked"]
