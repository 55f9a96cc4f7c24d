"""A reader of `blocks.decoded` that runs alongside: what a consumer with `read_committed` sees, and in which order."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict

from confluent_kafka import Consumer, TopicPartition

from indexer import codec
from indexer.errors import IndexerError
from indexer.records import DecodedBlock
from tests.support.kafka_topics import TestKafka

Seen = tuple[int, bytes]  # offset, hash of the record
Counted = dict[tuple[int, int], int]  # (height, generation) → records


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
        self.counted: Counted = defaultdict(int)

    def problems(self, allowed: Counted) -> list[str]:
        """Stop, and say what was wrong: order, what vanished or came later, too many records of a block."""
        there: dict[int, list[Seen]] = defaultdict(list)
        for message in self._kafka.read(self._topic, self._partitions):
            there[int(message.partition() or 0)].append(_seen(int(message.offset() or 0), message.value() or b""))
        deadline = time.monotonic() + 15
        while any(len(self.seen[n]) < len(found) for n, found in there.items()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.close()
        found = [
            f"partition {number}: {len(self.seen[number])} records were read as they came, {len(records)} are there"
            for number, records in there.items()
            if self.seen[number] != records
        ]
        found += [
            f"block {height}, generation {generation}: {count} records, {allowed.get((height, generation), 0)} items"
            for (height, generation), count in sorted(self.counted.items())
            if count > allowed.get((height, generation), 0)
        ]
        return found

    def close(self) -> None:
        self._ended.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._ended.is_set():
            message = self._consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            value = bytes(message.value() or b"")
            self.seen[int(message.partition() or 0)].append(_seen(int(message.offset() or 0), value))
            try:
                record = codec.decode_record(value)
            except IndexerError:
                continue  # planted
            if isinstance(record, DecodedBlock):
                self.counted[record.header.number, record.generation] += 1
        self._consumer.close()


def _seen(offset: int, value: bytes) -> Seen:
    return offset, hashlib.blake2b(bytes(value), digest_size=8).digest()
