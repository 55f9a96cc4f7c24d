"""What `batch process` shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from indexer.local.report import Report
from indexer.local.screen import Rates, display, duration, render, report_lines
from indexer.local.supervisor import Child, Supervisor
from indexer.storage.jobs import JobStatus

AT = datetime(2026, 1, 1, tzinfo=UTC)
JOB = JobStatus(
    id=7, chain_id=1, state="running", priority="normal", strategy="earliest", reason="backfill", total=1000,
    published=500, stored=0, dead=0, window_blocks=2000, batch_size=100, rate=None, created_at=AT, started_at=AT,
    finished_at=None, lease_owner="me", message=None, first_block=1, last_block=1000,
)  # fmt: skip

WHY = "100 of the last 100 records became dead letters"
STOPPED = f"decoder is stopped: {WHY}; mend the cause, then `indexer dlq resume decoder` [DEAD_LETTER_BUDGET]"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def rates_after(*stored: int) -> Rates:
    """Rates of a job that had stored so many blocks, a second apart."""
    clock = Clock()
    rates = Rates(clock)
    for count in stored:
        rates.note([replace(JOB, stored=count)])
        clock.now += 1.0
    return rates


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    rates = rates_after(0, 100, 200)

    assert rates.rate(JOB) == 100.0
    assert rates.left(replace(JOB, stored=200)) == "8 s"
    assert rates_after(*range(0, 1000, 50)).rate(JOB) == 50.0


def test_without_progress_nothing_is_promised() -> None:
    assert rates_after(5).left(replace(JOB, stored=5)) == "–"
    assert Rates(Clock()).rate(JOB) == 0.0
    assert rates_after(5).left(replace(JOB, stored=990, dead=10)) == "done"


def test_a_line_of_progress_says_all() -> None:
    line = rates_after(0, 100).lines([replace(JOB, stored=100, dead=2)])[0]

    assert line == "job 7: running, 100/1,000 stored, 2 dead, 100 blocks/s, 9 s left"


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (100, "1 min 40 s"), (7500, "2 h 05 min")])
def test_durations_are_rounded_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_bars_and_processes_are_drawn() -> None:
    console = Console(width=120, record=True, file=StringIO())
    supervisor = Supervisor(Path("logs"), {}, children=[Child("decoder", 1, Path("logs/decoder-1.log"), restarts=3)])

    console.print(render([replace(JOB, stored=100, dead=1)], rates_after(0, 100), supervisor, {}))

    shown = console.export_text()
    assert "100/1,000" in shown
    assert ["decoder-1", "down", "3", "–", "logs/decoder-1.log"] in [line.split() for line in shown.splitlines()]


def test_what_is_stopped_stands_below_the_bars() -> None:
    console = Console(width=200, record=True, file=StringIO())

    console.print(render([JOB], rates_after(0), None, {"decoder": WHY}))

    assert console.export_text().splitlines()[-1] == STOPPED


def test_without_a_terminal_a_line_now_and_then_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with display(as_json=True) as show:
        for _ in range(2):
            show([JOB], rates_after(0), None, {})

    assert capsys.readouterr().err == "job 7: running, 0/1,000 stored, 0 dead, 0 blocks/s, – left\n"


def test_on_a_terminal_the_last_state_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    with display(as_json=True) as show:
        show([replace(JOB, stored=100)], rates_after(0), None, {"decoder": WHY})

    shown = capsys.readouterr().err
    assert "100/1,000" in shown
    assert "decoder is stopped" in shown


def test_the_report_names_dead_letters_and_restarts() -> None:
    job = {"id": 7, "state": "done", "stored": 999, "dead": 1, "total": 1000}
    report = Report([job], 10.0, 999, 1, 99.9, {"RECEIPTS_ROOT_MISMATCH": 1}, {"decoder-0": 2}, 8, {"decoder": WHY})

    assert report_lines(report) == [
        "job 7: done, 999 stored, 1 dead of 1,000",
        "999 blocks in 10.0 s, 100 blocks/s; 8 indexes built",
        "started again: decoder-0 2 times",
        "1 dead letters RECEIPTS_ROOT_MISMATCH: `indexer dlq list` shows them",
        STOPPED,
    ]


def test_a_line_of_progress_says_done_or_how_long_is_left() -> None:
    rates = rates_after(0, 100, 200)

    assert rates.lines([replace(JOB, stored=200)])[0].endswith("100 blocks/s, 8 s left")
    assert rates.lines([replace(JOB, stored=1000)])[0].endswith("100 blocks/s, done")


def report_of(*jobs: dict[str, object]) -> Report:
    return Report([{"id": 3, "dead": 0, "total": 10_000, **job} for job in jobs], 1.0, 0, 0, 0.0, {}, {}, 0, {})


def test_a_job_that_is_paused_or_cancelled_is_told_and_nothing_is_complete() -> None:
    report = report_of({"state": "paused", "stored": 120}, {"id": 4, "state": "cancelled", "stored": 9, "dead": 1})

    assert report_lines(report)[:2] == [
        "job 3: paused, 120 of 10,000 stored; `indexer batch resume 3`",
        "job 4: cancelled, 9 of 10,000 stored, 1 dead",
    ]
    assert not report.complete


@pytest.mark.parametrize(
    ("state", "stored", "complete"),
    [("done", 10_000, True), ("done", 9_999, False), ("paused", 10_000, False), ("cancelled", 120, False)],
)
def test_a_run_is_complete_when_every_job_is_done_and_all_of_it_is_stored(
    state: str, stored: int, complete: bool
) -> None:
    done: dict[str, object] = {"state": "done", "stored": 10_000}

    assert report_of(done, {"state": state, "stored": stored}).complete == complete
