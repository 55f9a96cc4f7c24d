"""`indexer batch pause`, `resume` and `cancel`: said twice they change nothing more, and are no error."""

from __future__ import annotations

import pytest

from indexer.jobs.ranges import Ranges
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.jobs import Connection
from tests.support.command_line import Command

pytestmark = pytest.mark.integration


@pytest.fixture
def job(migrated: Settings, database: Connection) -> int:
    return jobs.create_job(database, jobs.NewJob(migrated.chain_id, Ranges.of([(0, 100)])))


def be(database: Connection, job: int, state: str) -> None:
    database.execute("UPDATE processing_jobs SET state = %s WHERE id = %s", (state, job))


@pytest.mark.parametrize(
    ("state", "verb", "becomes"),
    [
        ("queued", "pause", "paused"),
        ("running", "pause", "paused"),
        ("paused", "resume", "queued"),
        ("paused", "cancel", "cancelling"),
    ],
)
def test_a_wish_is_said_and_kept(
    migrated: Settings, database: Connection, command: Command, job: int, state: str, verb: str, becomes: str
) -> None:
    be(database, job, state)

    ran = command(migrated, "batch", verb, job)

    assert (ran.code, ran.out) == (0, f"job {job}: {becomes}\n")
    assert jobs.job_status(database, migrated.chain_id, job).state == becomes


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("paused", "pause"),
        ("queued", "resume"),
        ("running", "resume"),
        ("cancelling", "cancel"),
        ("cancelled", "cancel"),
    ],
)
def test_a_wish_that_is_fulfilled_already_changes_nothing(
    migrated: Settings, database: Connection, command: Command, job: int, state: str, verb: str
) -> None:
    be(database, job, state)

    ran = command(migrated, "batch", verb, job)

    assert (ran.code, ran.out) == (0, f"job {job}: already {state}\n")
    assert jobs.job_status(database, migrated.chain_id, job).state == state


@pytest.mark.parametrize(
    ("state", "verb"),
    [("done", "pause"), ("done", "resume"), ("done", "cancel"), ("cancelled", "resume"), ("cancelling", "pause")],
)
def test_a_job_that_is_over_is_not_woken(
    migrated: Settings, database: Connection, command: Command, job: int, state: str, verb: str
) -> None:
    be(database, job, state)

    ran = command(migrated, "batch", verb, job)

    assert ran.code == 2
    assert ran.err.startswith(f"error: job {job} is {state} and cannot be ")
    assert jobs.job_status(database, migrated.chain_id, job).state == state


def test_a_job_that_is_not_there_is_one_line(migrated: Settings, command: Command) -> None:
    ran = command(migrated, "batch", "resume", 99)

    assert (ran.code, ran.err) == (
        2,
        f"error: no job 99 on chain {migrated.chain_id}: `indexer batch status` lists them\n",
    )
