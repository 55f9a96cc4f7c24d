"""The outbox while what it needs is away: that is remembered for health, and nothing but the look is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from indexer.errors import OutageError
from indexer.storage.engine import Connection
from services.persister.outbox import OutboxRelay


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutageError("no answer", code="DATABASE_DOWN"), "DATABASE_DOWN"),
        (psycopg.OperationalError("cut"), "DATABASE_DOWN"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), "KAFKA_DOWN"),
    ],
)
def test_what_is_away_is_remembered_until_the_next_look(error: Exception, code: str) -> None:
    def failing() -> Connection:
        raise error

    relay = OutboxRelay({}, "dead", failing)

    assert relay.run_once() == 0
    assert relay.outage == code


@dataclass
class Table:
    """The outbox's table: letters by id."""

    letters: dict[int, bytes]
    closed: bool = False
    found: list[Any] = field(default_factory=list)

    def execute(self, query: str, values: tuple[Any, ...] = ()) -> Table:
        if "pg_try_advisory_xact_lock" in query:
            self.found = [(True,)]
        elif "DELETE" in query:
            self.letters = {key: value for key, value in self.letters.items() if key not in values[0]}
        elif "record_headers" in query:
            self.found = [(key, 0, b"k", value, []) for key, value in self.letters.items()]
        else:
            self.found = [(key,) for key in self.letters]
        return self

    def fetchall(self) -> list[Any]:
        return self.found

    def fetchone(self) -> Any:
        return self.found[0]

    def commit(self) -> None: ...

    def transaction(self) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass
class Broker:
    """Makes producers: the first `dead` ones are dead, the others hold `room` letters at a time."""

    room: int = 10
    dead: int = 0
    made: int = 0
    waiting: list[Callable[[Any, Any], None]] = field(default_factory=list)

    def __call__(self, config: dict[str, Any]) -> Broker:
        self.made += 1
        return self

    def produce(self, *_: Any, on_delivery: Callable[[Any, Any], None], **__: Any) -> None:
        if self.made <= self.dead:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        if len(self.waiting) == self.room:
            raise BufferError
        self.waiting.append(on_delivery)

    def flush(self, _: float) -> int:
        delivered, self.waiting = self.waiting, []
        for tell in delivered:
            tell(None, None)
        return 0


def relay_of(table: Any, **options: Any) -> OutboxRelay:
    return OutboxRelay(options.pop("config", {}), "dead", lambda: table, **options)


def test_a_letter_that_no_broker_takes_waits_in_the_table_and_not_in_the_client_too() -> None:
    table = Table({1: bytes(15 * 1024 * 1024)})
    unreachable = {
        "bootstrap.servers": "127.0.0.1:1",
        "queue.buffering.max.kbytes": 40 * 1024,
        "message.max.bytes": 32 * 1024 * 1024,
        "log_level": 0,
    }
    relay = relay_of(table, config=unreachable, seconds=0.05)

    assert [relay.run_once() for _ in range(4)] == [0, 0, 0, 0]
    assert relay.outage == "KAFKA_DOWN"
    assert list(table.letters) == [1]


def test_a_dead_producer_is_replaced_and_one_that_lives_is_kept() -> None:
    broker, table = Broker(dead=1), Table({1: b"a"})
    relay = relay_of(table, make=broker)

    assert [relay.run_once(), relay.run_once()] == [0, 1]
    table.letters = {2: b"b"}
    assert relay.run_once() == 1
    assert (broker.made, relay.outage) == (2, None)


def test_letters_for_which_the_client_has_no_room_go_out_in_the_next_pass() -> None:
    table = Table({1: b"a", 2: b"b", 3: b"c"})
    relay = relay_of(table, make=Broker(room=2))

    assert [relay.run_once(), relay.run_once()] == [2, 1]
    assert table.letters == {}
