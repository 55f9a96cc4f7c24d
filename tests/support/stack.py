"""One Kafka and one PostgreSQL for a whole test session, started when a test first asks for them."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from indexer import stack


@pytest.fixture(scope="session")
def local_stack() -> Iterator[stack.RunningStack]:
    """The session's own stack, which ends and vanishes with the session, however that ends.

    INDEXER_TEST_STACK names the folder of a running stack to use instead.
    """
    if shared := os.environ.get("INDEXER_TEST_STACK"):
        yield stack.connect(Path(shared))
        return
    folder = Path(tempfile.mkdtemp(prefix="indexer-test-"))
    running = stack.start(folder, brokers=1, die_with_parent=True, remove_with_parent=True)
    yield running
    gc.collect()  # clients that nobody holds any more would complain about the missing broker until we end
    running.stop(graceful=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> str:
    """The bootstrap servers of a running Kafka."""
    servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if servers and not os.environ.get("INDEXER_TEST_STACK"):
        return servers
    running: stack.RunningStack = request.getfixturevalue("local_stack")
    return running.bootstrap_servers


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> str:
    """The URL of a running PostgreSQL, of a database from which others can be made."""
    url = os.environ.get("DATABASE_URL")
    if url and not os.environ.get("INDEXER_TEST_STACK"):
        return url
    running: stack.RunningStack = request.getfixturevalue("local_stack")
    return running.database_url


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    import psycopg
    from psycopg import sql

    name = unique("test")
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def topic_prefix() -> str:
    """What this test's topics, groups and transactional ids start with, so that tests never share one."""
    return unique("t")


@pytest.fixture
def servers() -> Iterator[stack.RunningStack]:
    """A Kafka and a PostgreSQL that this test may kill."""
    with tempfile.TemporaryDirectory(prefix="indexer-own-") as folder:
        running = stack.start(Path(folder) / "stack", brokers=1, die_with_parent=True, remove_with_parent=True)
        try:
            yield running
        finally:
            running.stop(graceful=False)


def unique(name: str) -> str:
    return f"{name}_{uuid.uuid4().hex[:12]}"
