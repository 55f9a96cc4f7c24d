"""Publishes the outbox: letters written in row transactions become records of the dead-letter topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from confluent_kafka import KafkaException, Producer

from indexer.errors import IndexerError
from indexer.faults import hook
from indexer.kafka.config import Config
from indexer.storage.engine import Connection

log = logging.getLogger(__name__)

_LOCK = 0x1D8E_0004  # first key of pg_try_advisory_xact_lock; the second is the topic's hash
_MOST = 200
_MOST_BYTES = 8 * 1024 * 1024
_FLUSH_SECONDS = 20.0


class OutboxRelay:
    """One pass at a time: read, publish, wait for the broker, delete; a crash in between publishes twice.

    The DLQ indexer takes each letter once, so twice is harmless. An advisory lock lets one relay work at a time.
    """

    def __init__(
        self,
        config: Config,
        topic: str,
        open_connection: Callable[[], Connection],
        *,
        make: Callable[[dict[str, Any]], Any] = Producer,
        seconds: float = _FLUSH_SECONDS,  # to wait for the brokers in one pass
    ) -> None:
        self._config, self._make, self._seconds = config, make, seconds
        self._producer: Any = None  # None: the last one was given up, and what waited in it
        self._topic, self._open = topic, open_connection
        self._connection: Connection | None = None
        self.outage: str | None = None  # code of what kept the last look from happening

    def run_once(self) -> int:
        """Publish what waits, up to a limit; return how many letters left the outbox."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._open()
                # One that froze must not keep the letters back: its transaction ends while it idles.
                self._connection.execute("SET idle_in_transaction_session_timeout = '60s'")
                self._connection.commit()
            with self._connection.transaction():
                published, left = self._relay(self._connection)
            self.outage = "KAFKA_DOWN" if left else None
            return published
        except (psycopg.Error, KafkaException, IndexerError) as error:
            self.outage = _code(error)
            log.warning("outbox: %s; trying again", type(error).__name__)
            return 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _relay(self, connection: Connection) -> tuple[int, int]:
        """Return how many letters were published, and how many the brokers did not confirm in time."""
        chosen = [row[0] for row in connection.execute(_CHOOSE, (self._topic,)).fetchall()]
        if not chosen or not _locked(connection, self._topic):
            return 0, 0
        delivered: list[int] = []
        left = self._publish(connection.execute(_READ, (chosen,)).fetchall(), delivered)
        hook("persister.between-publish-and-delete")
        connection.execute("DELETE FROM outbox WHERE id = ANY(%s)", (delivered,))
        return len(delivered), left

    def _publish(self, letters: Sequence[Sequence[Any]], delivered: list[int]) -> int:
        """Publish, and note what was delivered; return how many letters still wait.

        A producer in which something waits is given up: the next pass would put the same letters behind it, until
        the queue is full. So is one that raises: it may be dead.
        """
        producer, self._producer = self._producer or self._make({**self._config}), None
        for key, partition, record_key, value, headers in letters:
            try:
                producer.produce(
                    self._topic,
                    value,
                    record_key,
                    partition=partition,
                    headers=[(name, None if text is None else bytes.fromhex(text)) for name, text in headers],
                    on_delivery=_note(key, delivered),
                )
            except BufferError:
                break  # the rest in the next pass
        left = int(producer.flush(self._seconds))
        if left:
            producer.purge()
        else:
            self._producer = producer
        return left


def _code(error: psycopg.Error | KafkaException | IndexerError) -> str:
    if isinstance(error, IndexerError):
        return error.code
    return "DATABASE_DOWN" if isinstance(error, psycopg.Error) else "KAFKA_DOWN"


def _locked(connection: Connection, topic: str) -> bool:
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, topic)).fetchone()
    return bool(row and row[0])


def _note(key: int, delivered: list[int]) -> Callable[[Any, Any], None]:
    def on_delivery(error: Any, _: Any) -> None:
        if error is None:
            delivered.append(key)
        else:
            log.warning("letter %d was not published: %s", key, error.str())

    return on_delivery


_CHOOSE = f"""
    SELECT id FROM (
        SELECT id, sum(coalesce(octet_length(record_value), 0)) OVER (ORDER BY id)
                   - coalesce(octet_length(record_value), 0) AS before
        FROM (SELECT id, record_value FROM outbox WHERE topic = %s ORDER BY id LIMIT {_MOST}) AS oldest
    ) AS summed WHERE before <= {_MOST_BYTES} ORDER BY id
"""  # noqa: S608  # constants only

# Read after the lock was taken: what another relay deleted meanwhile is not there any more.
_READ = """
    SELECT id, partition, record_key, record_value, record_headers FROM outbox WHERE id = ANY(%s) ORDER BY id
"""
