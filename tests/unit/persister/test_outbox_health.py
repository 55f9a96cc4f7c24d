"""What keeps the outbox from being looked at is what keeps the persister from its work."""

from __future__ import annotations

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
