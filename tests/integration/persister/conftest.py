"""A persister's sink on a real PostgreSQL, without Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from indexer.settings import Settings
from tests.integration.persister.harness import Persister


@pytest.fixture
def settings(migrated: Settings) -> Settings:
    """Settings with a migrated database; partitions small, patience short."""
    return replace(migrated, slot="0", partition_blocks=1000, lock_timeout_seconds=0.5)


@pytest.fixture
def look(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection in autocommit mode to look at the database with, and to arrange it."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def persister(settings: Settings) -> Iterator[Callable[..., Persister]]:
    """Makes persisters, all with the same database; they are closed at the end."""
    made: list[Persister] = []

    def make(**options: object) -> Persister:
        made.append(Persister(settings, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def job(look: psycopg.Connection) -> Callable[..., int]:
    """Makes jobs with coverage rows for stripes."""

    def make(*stripes: int, reason: str = "backfill", state: str = "running", wanted: int = -1) -> int:
        row = look.execute(
            "INSERT INTO processing_jobs (chain_id, state, priority, strategy, reason, blocks, total, batch_size,"
            " window_blocks) VALUES (43114, %s, 'normal', 'earliest', %s, '{[0,1000)}', 1000, 100, 2000) RETURNING id",
            (state, reason),
        ).fetchone()
        assert row is not None
        for stripe in stripes:
            look.execute(
                "INSERT INTO job_coverage (job_id, stripe, chain_id, wanted, stored, dead, published_at) VALUES"
                " (%s, %s, 43114, %s::bigint::bit(64), 0::bigint::bit(64), 0::bigint::bit(64), now())",
                (row[0], stripe, wanted),
            )
        return int(row[0])

    return make
