"""The follower's thread ends in order, also without its database; anything else that ends it is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from indexer.errors import OutageError, UserError
from indexer.settings import Settings
from indexer.storage import engine
from indexer.topics import load_topics
from services.producer import follow_sql as sql
from services.producer import head_loop
from services.producer.head_loop import HeadLoop
from tests.support.waiting import wait_for

SETTINGS = Settings(chain_id=43114, kafka_bootstrap_servers="127.0.0.1:1", rpc_urls=("http://127.0.0.1:1",))
AWAY = OutageError("the database does not answer", code="DATABASE_DOWN")


class Cut:
    """A connection that is cut when the lease of job 7 is taken."""

    def execute(self, statement: str, _: object) -> Cut:
        if statement != sql.TAKE:
            raise psycopg.OperationalError("the connection is closed")
        return self

    def fetchone(self) -> tuple[int, int]:
        return (7, 1)


class Database:
    """What connecting gives, try by try; the last try lasts until the thread is to end."""

    def __init__(self, *tries: Any) -> None:
        self._tries = list(tries)

    @property
    def at_last(self) -> bool:
        return not self._tries

    def reconnect(self, settings: Settings, service: str, stop: Callable[[], bool], *, autocommit: bool) -> Any:
        found = self._tries.pop(0)
        while self.at_last and not stop():
            time.sleep(0.005)
        if isinstance(found, Exception):
            raise found
        return found


def head(monkeypatch: pytest.MonkeyPatch, database: Database) -> HeadLoop:
    monkeypatch.setattr(engine, "reconnect", database.reconnect)
    for client in ("KafkaMessages", "LagReader"):  # real ones go on looking for their brokers
        monkeypatch.setattr(head_loop, client, lambda *_: None)
    return HeadLoop(SETTINGS, load_topics(), 4, "me")


@pytest.mark.parametrize(
    "database",
    [Database(AWAY), Database(Cut(), AWAY), Database(Cut(), Cut())],
    ids=["it never came", "it went", "it came and went again"],
)
def test_the_end_does_without_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, database: Database
) -> None:
    one = head(monkeypatch, database)
    one.start()
    wait_for(lambda: database.at_last)

    with caplog.at_level(logging.WARNING):
        one.stop()

    assert not one.failed()
    assert len([message for message in caplog.messages if "ending without it" in message]) == 1


def test_what_is_no_outage_ends_the_thread_and_is_raised_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = UserError("the database refuses this user", code="DATABASE_REFUSED")
    one = head(monkeypatch, Database(refused, AWAY))
    one.start()
    wait_for(one.failed)

    with pytest.raises(UserError):
        one.stop()
