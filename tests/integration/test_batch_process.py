"""`batch process`: what it cannot work without is told at once, and it ends neither early nor in disorder."""

from __future__ import annotations

import itertools
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.errors import OutageError
from indexer.jobs.ranges import Ranges
from indexer.kafka.brakes import Brakes
from indexer.local import process
from indexer.local.process import process_jobs
from indexer.local.supervisor import Supervisor
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.jobs import Connection, NewJob
from tests.support.command_line import Command, ran_apart

pytestmark = pytest.mark.integration

BLOCKS = 10
WHY = "100 of the last 100 records became dead letters"


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

    (found,) = process._watch(migrated, Supervisor(tmp_path, {}), dict, {job}, False, False, True, one_more_turn)

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


@pytest.fixture
def stopped_decoder(deployment: Settings) -> str:
    brakes = Brakes(deployment, "decoder")
    brakes.put(WHY)
    brakes.close()
    return "decoder"


@pytest.mark.usefixtures("stopped_decoder")
def test_where_a_service_is_stopped_already_a_job_being_cancelled_is_not_waited_for_for_ever(
    deployment: Settings, database: Connection, job: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.wish(database, deployment.chain_id, job, "cancel")

    assert not run(deployment, tmp_path / "logs")

    shown = capsys.readouterr()
    assert shown.err.count(f"decoder is stopped: {WHY}; mend the cause, then `indexer dlq resume decoder`") == 1
    assert "decoder is stopped" in shown.out, "the report says it"
    assert f"job {job}: cancelling" in shown.out


def test_asked_to_keep_running_it_only_says_what_is_stopped(
    migrated: Settings, job: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "Standstill", at_once)
    turns = itertools.count()

    def five_turns() -> None:
        if next(turns) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process._watch(
            migrated, Supervisor(tmp_path, {}), lambda: {"decoder": WHY}, {job}, False, True, True, five_turns
        )

    assert capsys.readouterr().err.count("decoder is stopped") == 1


def at_once(_: object) -> object:
    """A standstill that needs no time."""
    return lambda *_: True


def test_when_most_blocks_die_it_says_so_and_ends(deployment: Settings, database: Connection, tmp_path: Path) -> None:
    with Devchain.simulated(profile="small", blocks=1000) as node:
        node.faults(drop_log=list(range(1, 901)))
        jobs.create_job(database, NewJob(deployment.chain_id, Ranges.of([(1, 1001)])))
        settings = replace(deployment, rpc_urls=(node.url,))

        ran = ran_apart(settings, tmp_path, "batch", "process", "--workers", 1, "--json", seconds=120)

    report = ran.json()
    assert ran.code == 1
    assert ran.err.count("decoder is stopped: ") == 1
    assert "`indexer dlq resume decoder`" in ran.err
    assert "records became dead letters" in report["stopped"]["decoder"]
    assert report["dead"] >= 100
    assert report["jobs"][0]["state"] == "running"


def test_without_jobs_the_report_is_json_all_the_same(migrated: Settings, command: Command) -> None:
    settings = replace(migrated, kafka_bootstrap_servers="127.0.0.1:1", rpc_urls=("http://127.0.0.1:1",))

    ran = command(settings, "batch", "process", "--json")

    assert ran.code == 0
    assert json.loads(ran.out)["jobs"] == []
    assert "no jobs under way" in ran.err
