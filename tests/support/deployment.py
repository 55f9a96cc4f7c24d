"""An indexer's topics and tables, ready for one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from indexer.kafka.admin import KafkaAdmin
from indexer.settings import Settings
from indexer.storage import engine, migrate
from indexer.storage.jobs import Connection
from indexer.topics import load_topics
from tests.support.stack import unique

CHAIN_ID = 43114


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> Iterator[str]:
    """The name of a database with all tables, from which each test's own is copied."""
    name = unique("template")
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrate.migrate(Settings(database_url=_url(postgres, name)))
    yield name
    _drop(postgres, name)


@pytest.fixture
def migrated(postgres: str, migrated_template: str) -> Iterator[Settings]:
    """Settings with a migrated database of this test's own."""
    with own_database(postgres, migrated_template) as settings:
        yield settings


@pytest.fixture
def deployment(migrated: Settings, kafka: str) -> Iterator[Settings]:
    """Settings with migrated tables and all topics; sessions short, so that the dead are noticed soon."""
    with own_topics(migrated, kafka) as settings:
        yield settings


@contextmanager
def own_database(postgres: str, template: str) -> Iterator[Settings]:
    """Yield settings with a copy of the database `template`, which is dropped afterwards."""
    name = unique("test")
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield Settings(chain_id=CHAIN_ID, database_url=_url(postgres, name), topic_prefix=f"{name}.")
    finally:
        _drop(postgres, name)


@contextmanager
def own_topics(migrated: Settings, kafka: str) -> Iterator[Settings]:
    """Yield these settings with all topics made, which are deleted afterwards."""
    settings = replace(migrated, kafka_bootstrap_servers=kafka, session_timeout_seconds=6.0)
    topics, admin = load_topics(settings.topic_prefix), KafkaAdmin(settings)
    admin.apply(topics)
    try:
        yield settings
    finally:
        admin.delete(topics.names)


@pytest.fixture
def database(migrated: Settings) -> Iterator[Connection]:
    """A connection to the test's database, each statement its own transaction."""
    with engine.connect(migrated, "test", autocommit=True) as connection:
        yield connection


def _url(server: str, name: str) -> str:
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def _drop(server: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
