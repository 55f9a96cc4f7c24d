"""A reader of `blocks.decoded` that runs alongside: what a consumer with `read_committed` sees, and in which order."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import Consumer, TopicPartition

from indexer import codec
from indexer.errors import IndexerError
from indexer.records import DecodedBlock
from tests.support.kafka_topics import TestKafka

Origin = tuple[str, int, int]  # topic, partition, offset
Seen = tuple[int, bytes]  # offset, hash of the record
Block = tuple[int, int]  # height, generation
Counted = Mapping[Block, int]  # how many of each


class Reader:
    """Reads on a thread until it is stopped; brokers may go and come back."""

    def __init__(self, servers: str, topic: str, partitions: int) -> None:
        self._kafka, self._topic, self._partitions = TestKafka(servers), topic, partitions
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "chaos-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.seen: dict[int, list[Seen]] = defaultdict(list)
        self.blocks: dict[Origin, Block] = {}

    def problems(self, allowed: Counted, planted: Collection[Origin]) -> list[str]:
        """Stop, and say what was wrong: order, what vanished or came later, too many records of a block."""
        there: dict[int, list[Seen]] = defaultdict(list)
        for message in self._kafka.read(self._topic, self._partitions):
            there[int(message.partition() or 0)].append(_seen(int(message.offset() or 0), message.value() or b""))
        deadline = time.monotonic() + 15
        while any(len(self.seen[n]) < len(found) for n, found in there.items()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.close()
        counted = Counter(block for origin, block in self.blocks.items() if origin not in planted)
        return other_records(self.seen, there) + doubled(counted, allowed)

    def close(self) -> None:
        self._ended.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._ended.is_set():
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            value = bytes(message.value() or b"")
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            self.seen[partition].append(_seen(offset, value))
            try:
                record = codec.decode_record(value)
            except IndexerError:
                continue  # planted
            if isinstance(record, DecodedBlock):
                self.blocks[self._topic, partition, offset] = (record.header.number, record.generation)
        self._consumer.close()


def other_records(seen: Mapping[int, Sequence[Seen]], there: Mapping[int, Sequence[Seen]]) -> list[str]:
    """Say where what a reader saw as it came, by partition, is not what is there in the end."""
    return [
        f"partition {number}: {len(seen.get(number, ()))} records were read as they came,"
        f" {len(there.get(number, ()))} are there"
        for number in sorted(seen.keys() | there.keys())
        if list(seen.get(number, ())) != list(there.get(number, ()))
    ]


def doubled(counted: Counted, allowed: Counted) -> list[str]:
    """Say which blocks were decoded more often than they were asked for."""
    return [
        f"block {height}, generation {generation}: {count} records, {allowed.get((height, generation), 0)} items"
        for (height, generation), count in sorted(counted.items())
        if count > allowed.get((height, generation), 0)
    ]


def _seen(offset: int, value: bytes) -> Seen:
    return offset, hashlib.blake2b(bytes(value), digest_size=8).digest()
