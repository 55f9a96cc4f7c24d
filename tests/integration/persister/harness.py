"""A persister without its Kafka side: partitions are assigned and records written by the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from indexer import native
from indexer.codec import encode_block
from indexer.errors import PoisonError
from indexer.inflight import Record, TopicPartition
from indexer.pipeline import Handled, Offsets
from indexer.records import DecodedBlock, Rollback
from indexer.settings import Settings
from indexer.storage.digest import Digest, digest, wrong_balances
from indexer.storage.engine import Connection
from indexer.topics import partition_of
from services.persister.connections import PartitionKeeper, RowConnections
from services.persister.handler import Item
from services.persister.packed import PackedBlock, read
from services.persister.progress import Progress
from services.persister.sink import OffsetsSink
from services.persister.store import BlockWriter, Destination

TOPIC, GROUP, PARTITIONS = "blocks.decoded", "persister", 2
Value = DecodedBlock | Rollback | PoisonError


def source(partition: int) -> TopicPartition:
    return TopicPartition(TOPIC, partition)


class Connections(RowConnections):
    """Real connections, of which a test may spoil the next one."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.spoil: Callable[[Connection], None] | None = None
        self.opened = 0

    def open(self) -> Connection:
        connection = super().open()
        self.opened += 1
        spoil, self.spoil = self.spoil, None
        if spoil is not None:
            spoil(connection)
        return connection


class Persister:
    """A sink with a writer, and the offsets that the records of a test get."""

    def __init__(
        self,
        settings: Settings,
        *,
        topic_id: str = "id-1",
        now: Callable[[], float] = time.time,
        faults: dict[str, Callable[[], None]] | None = None,
    ) -> None:
        self.settings, self.topic_id = settings, topic_id
        self.connections = Connections(settings)
        self.progress = Progress(GROUP, lambda topics: dict.fromkeys(topics, self.topic_id))
        self.faults = faults or {}
        self.committed: dict[TopicPartition, int] = {}
        to = Destination(settings.chain_id, GROUP, PARTITIONS, "blocks.dlq", lambda topic: self.topic_id)
        self.writer = BlockWriter(to, PartitionKeeper(settings), fault=self._fault, now=now, native=native.load("auto"))
        self.sink: OffsetsSink[Item] = OffsetsSink(
            self.connections, self.progress, self.writer, self._note, now=now, fault=self._fault
        )
        self._next: dict[TopicPartition, int] = {}

    def own(self, *partitions: int) -> Persister:
        starts = self.sink.assigned({source(p) for p in partitions or range(PARTITIONS)})
        self._next |= dict(starts)
        return self

    def write(self, *values: Value) -> Sequence[Handled[Item]]:
        """Write values as the next records of their partitions."""
        return self.write_again(self.handle(*values))

    def handle(self, *values: Value) -> list[Handled[Item]]:
        handled = []
        for value in values:
            at = source(_partition(value))
            offset = self._next.get(at, 0)
            self._next[at] = offset + 1
            record = Record(TOPIC, at.partition, offset, b"key", b"value")
            handled.append(Handled(at, offset, Item(record, _read(value))))
        return handled

    def write_again(self, handled: list[Handled[Item]]) -> Sequence[Handled[Item]]:
        return self.sink.write(handled, {each.source: each.offset + 1 for each in handled})

    def _note(self, _: object, offsets: Offsets) -> None:
        self.committed |= offsets

    def close(self) -> None:
        self.sink.close()

    def _fault(self, place: str) -> None:
        if place in self.faults:
            self.faults[place]()


def _read(value: Value) -> PackedBlock | Rollback | PoisonError:
    """What a handler makes of the value's record."""
    return read(encode_block(value), native.load("auto")) if isinstance(value, DecodedBlock) else value


def _partition(value: Value) -> int:
    if isinstance(value, DecodedBlock):
        return partition_of(value.header.number, PARTITIONS)
    return 0


def state(look: psycopg.Connection, chain_id: int = 43114) -> Digest:
    """The digest of what is stored; the ledger must be right."""
    assert wrong_balances(look, chain_id) == []
    return digest(look, chain_id)


def rows(look: psycopg.Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    return look.execute(query, parameters or None).fetchall()  # type: ignore[arg-type]


def heights(look: psycopg.Connection, table: str = "blocks") -> list[int]:
    column = "number" if table == "blocks" else "block_number"
    return [row[0] for row in rows(look, f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")]


def bits(look: psycopg.Connection, job: int, which: str = "stored") -> set[int]:
    """The heights whose bit is set."""
    found = rows(look, f"SELECT stripe, {which}::text FROM job_coverage WHERE job_id = %s", job)
    return {stripe * 64 + at for stripe, mask in found for at, bit in enumerate(reversed(mask)) if bit == "1"}
