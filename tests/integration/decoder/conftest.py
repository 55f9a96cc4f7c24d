"""A decoder's surroundings: topics of its own on a real Kafka, a simulated node, decoders as processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message

from devchain.client import Devchain
from indexer import codec
from indexer.deadletter import Letter, read_letter
from indexer.inflight import Record
from indexer.kafka.admin import KafkaAdmin
from indexer.records import BlockWorkItem, DecodedBlock
from indexer.settings import Settings
from indexer.topics import load_topics, partition_of
from tests.support.kafka_topics import TestKafka
from tests.support.processes import Processes, running

CHAIN = 43114
PARTITIONS = 4
HEAD = 400


class Surroundings:
    """Work items go in, decoded blocks and letters come out."""

    def __init__(self, servers: str, prefix: str, node: Devchain) -> None:
        self.kafka, self.node = TestKafka(servers), node
        self.topics = load_topics(prefix + ".", partitions=PARTITIONS)
        self.settings = Settings(
            chain_id=CHAIN,
            kafka_bootstrap_servers=servers,
            topic_prefix=prefix + ".",
            rpc_urls=(node.url,),
            session_timeout_seconds=6.0,
        )
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "TOPIC_PREFIX": prefix + ".",
            "RPC_URLS": node.url,
            "CHAIN_ID": str(CHAIN),
            "SESSION_TIMEOUT_SECONDS": "6",
        }

    def ask_for(self, *numbers: int, role: str = "blocks.work.normal", **item: object) -> None:
        by_partition: dict[int, list[bytes]] = {}
        for number in numbers:
            value = codec.encode_work_item(BlockWorkItem(CHAIN, number, job_id=1, **item))  # type: ignore[arg-type]
            by_partition.setdefault(partition_of(number, PARTITIONS), []).append(value)
        for partition, values in by_partition.items():
            self.kafka.produce(self.topics.name(role), partition, *values)

    def records(self, topic: str) -> list[Message]:
        return self.kafka.read(topic, PARTITIONS)

    def decoded(self) -> list[int]:
        """The heights on `blocks.decoded`, as often as they are there."""
        found = [codec.decode_record(message.value() or b"") for message in self.records(self.topics.decoded)]
        return [block.header.number for block in found if isinstance(block, DecodedBlock)]

    def letters(self) -> list[tuple[BlockWorkItem, Letter]]:
        found = []
        for message in self.records(self.topics.dlq):
            headers = tuple(message.headers() or ())
            record = Record(self.topics.dlq, message.partition() or 0, 0, None, message.value(), headers)  # type: ignore[arg-type]
            found.append((codec.decode_work_item(message.value() or b""), read_letter(record, "")))
        return found

    def assert_exactly(self, *numbers: int) -> None:
        found = Counter(self.decoded())
        assert found == Counter(numbers), f"lost or doubled: {(Counter(numbers) - found) or (found - Counter(numbers))}"


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=HEAD) as node:
        yield node


@pytest.fixture
def node(shared_node: Devchain) -> Iterator[Devchain]:
    shared_node.faults(reset=True)
    shared_node.reset_stats()
    yield shared_node
    shared_node.faults(reset=True)


@pytest.fixture
def here(kafka: str, topic_prefix: str, node: Devchain) -> Iterator[Surroundings]:
    made = Surroundings(kafka, topic_prefix, node)
    admin = KafkaAdmin(made.settings)
    admin.apply(made.topics)
    yield made
    admin.delete(made.topics.names)


@pytest.fixture
def processes(here: Surroundings, tmp_path: Path) -> Iterator[Processes]:
    with running(tmp_path, here.environment) as processes:
        yield processes
