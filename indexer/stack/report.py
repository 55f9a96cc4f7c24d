"""What a stack looks like from outside: which servers it uses, where they are, whether they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from indexer.errors import UserError
from indexer.stack import kafka, postgres
from indexer.stack.layout import Folder
from indexer.stack.running import RunningStack


@dataclass(frozen=True, slots=True)
class External:
    """Servers of the user's own, named in the environment."""

    kafka: str | None
    database: str | None

    def complete(self) -> bool:
        return self.kafka is not None and self.database is not None

    def lines(self) -> list[str]:
        """What is used instead of own servers; never a password."""
        found = []
        if self.kafka:
            found.append(f"Kafka: using {self.kafka} (KAFKA_BOOTSTRAP_SERVERS)")
        if self.database:
            found.append(f"PostgreSQL: using {host(self.database)} (DATABASE_URL)")
        return found


def host(database_url: str) -> str:
    """Host and port of a database URL."""
    try:
        parts = urlsplit(database_url)
        return f"{parts.hostname or 'local socket'}:{parts.port or 5432}"
    except ValueError:
        raise UserError("DATABASE_URL is not a valid postgresql:// URL", code="DATABASE_URL_INVALID") from None


def external(data_dir: Path, environment: Mapping[str, str]) -> External:
    """The servers to use instead of own ones, each checked. Raises UserError for one that does not answer.

    What `indexer stack env` of this very folder printed does not count, whatever database is named there: it names our
    own servers, which would be shut down for it.
    """
    shape = Folder(data_dir).layout()
    servers = environment.get("KAFKA_BOOTSTRAP_SERVERS") or None
    database = environment.get("DATABASE_URL") or None
    if shape and servers == shape.bootstrap_servers:
        servers = None
    if shape and database and _server(database) == _server(shape.database_url):
        database = None
    if servers and not kafka.known(servers, seconds=10):
        raise UserError(f"Kafka at {servers} does not answer; start it, or unset KAFKA_BOOTSTRAP_SERVERS")
    if database and not accepts(database):
        raise UserError(f"PostgreSQL at {host(database)} does not answer; start it, or unset DATABASE_URL")
    return External(servers, database)


def _server(database_url: str) -> str:
    """Return which server a URL names: host and port, or the URL itself where it has several or cannot be read."""
    try:
        parts = urlsplit(database_url)
        return f"{(parts.hostname or '').replace('localhost', '127.0.0.1')}:{parts.port}"
    except ValueError:
        return database_url


def accepts(database_url: str) -> bool:
    """True when a database of the user's own accepts a query."""
    try:
        import psycopg
    except ImportError as error:
        raise UserError("DATABASE_URL is set, but psycopg is missing: install `evm-kafka-indexer[storage]`") from error
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def addresses(stack: RunningStack) -> list[str]:
    return [f"Kafka       {stack.bootstrap_servers}", f"PostgreSQL  {host(stack.database_url)}"]


def status(data_dir: Path) -> dict[str, Any]:
    """What runs and answers, as plain values for JSON."""
    folder = Folder(data_dir)
    state, shape = folder.state(), folder.layout()
    if state is None or shape is None or not state.ready:
        return {"data_dir": str(folder.path), "up": False, "kafka": None, "postgres": None}
    stack = RunningStack(folder, shape)
    pids = stack.broker_pids
    seen = kafka.known(stack.bootstrap_servers)
    brokers = [{"id": b.id, "port": b.port, "pid": pids.get(b.id), "up": b.id in seen} for b in shape.brokers]
    broker_view = {
        "bootstrap_servers": stack.bootstrap_servers,
        "external": state.external_kafka is not None,
        "brokers": [] if state.external_kafka else brokers,
        "up": bool(seen) if state.external_kafka else len(seen) == len(brokers),
    }
    answers = accepts if state.external_database else postgres.answers
    database = {
        "address": host(stack.database_url),
        "external": state.external_database is not None,
        "pid": stack.postgres_pid,
        "up": answers(stack.database_url),
    }
    up = bool(broker_view["up"] and database["up"])
    return {"data_dir": str(folder.path), "up": up, "kafka": broker_view, "postgres": database}


def status_lines(seen: dict[str, Any]) -> list[str]:
    """The same for people."""
    if seen["kafka"] is None:
        return [f"down ({seen['data_dir']})"]

    def word(up: bool) -> str:
        return "up" if up else "DOWN"

    lines = [f"Kafka       {word(seen['kafka']['up']):4}  {seen['kafka']['bootstrap_servers']}"]
    for broker in seen["kafka"]["brokers"]:
        lines.append(f"  broker {broker['id']}  {word(broker['up']):4}  pid {broker['pid'] or '-'}")
    lines.append(f"PostgreSQL  {word(seen['postgres']['up']):4}  {seen['postgres']['address']}")
    return lines
