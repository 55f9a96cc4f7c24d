"""`batch process`: what it cannot work without is told at once, and it ends neither early nor in disorder."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.errors import OutageError
from indexer.jobs.ranges import Ranges
from indexer.local import process
from indexer.local.process import process_jobs
from indexer.local.supervisor import Supervisor
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.jobs import Connection, NewJob

pytestmark = pytest.mark.integration

BLOCKS = 10


@pytest.fixture
def job(migrated: Settings, database: Connection) -> int:
    return jobs.create_job(database, NewJob(migrated.chain_id, Ranges.of([(1, BLOCKS + 1)])))


def run(settings: Settings, logs: Path, **counts: int) -> bool:
    return process_jobs(
        settings, counts=counts, most_jobs=1, logs=logs, monitoring=False, keep_running=False, as_json=False
    )


@pytest.mark.usefixtures("job")
def test_without_kafka_it_says_so_and_starts_nothing(migrated: Settings, tmp_path: Path) -> None:
    nobody = replace(migrated, kafka_bootstrap_servers="127.0.0.1:1")

    with pytest.raises(OutageError, match=r"Kafka at 127\.0\.0\.1:1 does not answer") as refused:
        run(nobody, tmp_path / "logs", producer=1, decoder=1)

    assert refused.value.code == "KAFKA_UNREACHABLE"
    assert not (tmp_path / "logs").exists()


def test_what_a_paused_job_has_published_is_stored_before_it_ends(
    migrated: Settings, database: Connection, job: int, tmp_path: Path
) -> None:
    jobs.wish(database, migrated.chain_id, job, "pause")
    database.execute(
        "INSERT INTO job_coverage (job_id, stripe, chain_id, wanted, stored, dead)"
        " VALUES (%s, 0, %s, 6::bit(64), 0::bit(64), 0::bit(64))",
        (job, migrated.chain_id),
    )
    turns = [*[""] * 3, "UPDATE job_coverage SET stored = 2::bit(64)", "UPDATE job_coverage SET stored = wanted", ""]

    def one_more_turn() -> None:
        if statement := turns.pop(0):
            database.execute(statement)

    (found,) = process._watch(migrated, Supervisor(tmp_path, {}), {job}, False, False, True, one_more_turn)

    assert (found.state, found.stored) == ("paused", 2)
    assert turns == [""], "it ended as soon as nothing was under way"


def test_a_signal_while_indexes_are_built_ends_it_in_order(
    deployment: Settings, job: int, tmp_path: Path, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.wish(database, deployment.chain_id, job, "pause")

    def refuse(*_: object) -> None:
        raise AssertionError("the signal would have ended the process with its services at work")

    def interrupted(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr(process, "_build_indexes", interrupted)
    before = signal.signal(signal.SIGTERM, refuse)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(deployment, tmp_path / "logs")
        assert signal.getsignal(signal.SIGTERM) is refuse
    finally:
        signal.signal(signal.SIGTERM, before)
