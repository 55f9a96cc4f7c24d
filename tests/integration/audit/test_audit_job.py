"""An audit that is a job: killed, interrupted or paused it is gone on with where it was, and its report is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from indexer.settings import Settings
from indexer.storage.jobs import Connection
from tests.support.command_line import Command, Ran, ran_apart, variables
from tests.support.letters import put_letter

pytestmark = pytest.mark.integration

LAST = 5000  # of an empty database: every height of a range that is named is missing, five portions of them
RANGE = ("--from", 0, "--to", LAST, "--sample", 0)
JOB = ("audit", "--job", *RANGE)


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "faults"
    folder.mkdir()
    monkeypatch.setenv("FAULT_HOOKS", str(folder))
    return folder


def ended_by(word: str, settings: Settings, faults: Path, *arguments: object) -> Ran:
    """Run the command line as a process that gets an order when a portion is kept."""
    (faults / "audit.after-portion").write_text(word)
    return ran_apart(settings, faults.parent, *arguments)


@contextmanager
def frozen(settings: Settings, faults: Path) -> Iterator[subprocess.Popen[str]]:
    """An audit that stands still after its first portion until it gets SIGCONT."""
    (faults / "audit.after-portion").write_text("stop")
    command = [sys.executable, "-m", "indexer.cli", *map(str, JOB)]
    environment = {**os.environ, **variables(settings)}
    with subprocess.Popen(
        command, env=environment, cwd=faults.parent, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            yield process
        finally:
            process.kill()


def missing(ran: Ran) -> list[tuple[int, Any]]:
    """(count, ranges) of all findings."""
    return [(each["count"], each["ranges"]) for each in ran.json()["findings"]]


def test_one_that_was_killed_goes_on_when_the_same_command_is_given_again(
    migrated: Settings, database: Connection, faults: Path, command: Command
) -> None:
    undisturbed = command(migrated, "audit", "--json", *RANGE)

    killed = ended_by("kill", migrated, faults, *JOB)
    status = command(migrated, "batch", "status").out
    put_letter(database, migrated, 3)  # would be found by who looked there again
    again = command(migrated, *JOB, "--json")

    assert killed.code == -9
    assert f"audit 1  interrupted blocks 0–{LAST}, 20.5 %, done to 1023, 1,024 findings" in status
    assert "`indexer audit --resume 1` goes on" in status
    assert (again.code, again.err) == (1, f"audit 1 goes on at block 1,024 of {LAST:,}\n")
    assert again.json() == undisturbed.json()
    assert missing(again) == [(LAST + 1, [[0, LAST]])]
    assert "audit 1  findings   blocks 0–5000, 100.0 %, done to 5000, 5,001 findings" in (
        command(migrated, "batch", "status").out
    )


def test_one_that_is_over_is_not_gone_on_with(migrated: Settings, command: Command) -> None:
    command(migrated, *JOB)
    command(migrated, *JOB)

    assert "audit 2  findings" in command(migrated, "batch", "status").out
    for verb, done in (("resume", "resumed"), ("pause", "paused"), ("cancel", "cancelled")):
        ran = command(migrated, "audit", f"--{verb}", 1)
        assert (ran.code, ran.err) == (2, f"error: audit 1 is findings and cannot be {done}\n")
    assert command(migrated, "audit", "--resume", 9).err == f"error: no audit 9 on chain {migrated.chain_id}\n"


def test_another_is_begun_on_request_and_for_another_range(migrated: Settings, faults: Path, command: Command) -> None:
    ended_by("kill", migrated, faults, *JOB)

    anew, other = command(migrated, *JOB, "--anew"), command(migrated, *JOB, "--no-balances")

    assert (anew.err, other.err) == ("audit 2\n", "audit 3\n")
    assert "audit 1  interrupted" in command(migrated, "batch", "status").out


def test_one_that_is_asked_to_end_says_how_it_goes_on(migrated: Settings, faults: Path, command: Command) -> None:
    terminated = ended_by("term", migrated, faults, *JOB)
    resumed = command(migrated, "audit", "--resume", 1, "--json")

    assert terminated.code == 130
    assert "`indexer audit --resume 1` goes on with it" in terminated.err
    assert missing(resumed) == [(LAST + 1, [[0, LAST]])]


def test_one_that_runs_is_paused_from_elsewhere_and_only_resumed_by_its_id(
    migrated: Settings, faults: Path, command: Command
) -> None:
    with frozen(migrated, faults) as audit:
        assert "audit 1  running" in command(migrated, "batch", "status").out
        refused = command(migrated, "audit", "--resume", 1)
        said = [command(migrated, "audit", "--pause", 1) for _ in range(2)]
        audit.send_signal(signal.SIGCONT)
        assert audit.wait(60) == 1
        assert audit.stderr is not None
        told = audit.stderr.read()

    assert (refused.code, refused.err) == (2, "error: audit 1 is being carried out and cannot be resumed\n")
    assert [(ran.code, ran.out) for ran in said] == [(0, "audit 1: paused\n")] * 2
    assert "error: audit 1 was paused at block 1,024: `indexer audit --resume 1` goes on" in told
    assert "audit 1  paused" in command(migrated, "batch", "status").out
    assert command(migrated, *JOB).err.startswith("audit 2\n")
    assert missing(command(migrated, "audit", "--resume", 1, "--json")) == [(LAST + 1, [[0, LAST]])]


def test_one_that_is_cancelled_ends_for_good(migrated: Settings, faults: Path, command: Command) -> None:
    with frozen(migrated, faults) as audit:
        said = [command(migrated, "audit", "--cancel", 1) for _ in range(2)]
        audit.send_signal(signal.SIGCONT)
        assert audit.wait(60) == 1

    assert [(ran.code, ran.out) for ran in said] == [(0, "audit 1: cancelled\n")] * 2
    assert "audit 1" not in command(migrated, "batch", "status").out
    assert "audit 1  cancelled" in command(migrated, "batch", "status", "--all").out
    assert command(migrated, "audit", "--resume", 1).code == 2


def test_an_audit_of_an_older_release_is_not_gone_on_with(
    migrated: Settings, database: Connection, command: Command
) -> None:
    database.execute(
        "INSERT INTO audits (chain_id, from_number, to_number, next_number) VALUES (%s, 0, 9, 5)", (migrated.chain_id,)
    )

    ran = command(migrated, "audit", "--resume", 1)

    assert (ran.code, ran.err) == (2, "error: audit 1 is of an older release: begin another\n")
