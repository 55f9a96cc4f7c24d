"""`batch process`: the services as child processes, live progress, and a report at the end."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psycopg

from indexer.errors import OutageError
from indexer.interrupts import asked_to_end
from indexer.kafka.admin import KafkaAdmin
from indexer.local.screen import Rates, render, report_lines
from indexer.local.settled import Settled
from indexer.local.supervisor import Supervisor
from indexer.settings import Settings, read
from indexer.storage import engine, indexes, jobs
from indexer.storage.jobs import Connection, JobStatus

Show = Callable[[list[JobStatus], Rates, Supervisor | None], None]

_LOOK_SECONDS = 0.25
_LINE_SECONDS = 5.0  # between two lines of progress where no terminal is
_LOCAL = {"SESSION_TIMEOUT_SECONDS": "6"}  # a killed process is noticed after this time, not after 45 s


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did; the last thing that `batch process --json` prints."""

    jobs: list[dict[str, object]]
    seconds: float
    stored: int
    dead: int
    blocks_per_second: float
    dead_letters: dict[str, int]
    restarts: dict[str, int]
    indexes_built: int

    @property
    def complete(self) -> bool:
        """Whether every job is done with every block of it stored: none paused or cancelled, no dead letter."""
        return all(job["state"] == "done" and job["stored"] == job["total"] for job in self.jobs)


def process_jobs(
    settings: Settings,
    *,
    counts: Mapping[str, int],
    most_jobs: int,
    logs: Path,
    monitoring: bool,
    keep_running: bool,
    as_json: bool,
) -> bool:
    """Run the services until no job is under way; return whether all are done and every block of them is stored.

    Ctrl-C stops the services in order; the jobs stay queued and go on where they were. Raises OutageError, having
    started nothing, when Kafka or the database does not answer; those that go away later are waited for.
    """
    with engine.connect(settings, "process", autocommit=True) as connection:
        known = {job.id: job.stored for job in jobs.all_jobs(connection, settings.chain_id, live_only=True, most=1000)}
    if not known and not keep_running:
        click.echo("no jobs under way: `indexer batch queue blocks FIRST LAST` makes one", err=as_json)
        return True
    KafkaAdmin(settings).brokers()  # services start again for ever where it is away: told at once
    supervisor = Supervisor(logs, {**_exported(), "MAX_JOBS": str(most_jobs)})
    started = time.monotonic()
    with asked_to_end() as raise_if_asked:  # until the last service has stopped, the indexes' build included
        try:
            supervisor.start(counts)
            finished = _watch(settings, supervisor, set(known), monitoring, keep_running, as_json, raise_if_asked)
            seconds = time.monotonic() - started
            supervisor.dismiss("producer", "decoder")  # they end while the indexes are built
            with engine.connect(settings, "process", autocommit=True) as connection:
                built = _build_indexes(settings, connection)
                report = _report(connection, settings, finished, known, seconds, supervisor, built)
        finally:
            supervisor.stop()
    click.echo(json.dumps(asdict(report), default=str) if as_json else "\n".join(report_lines(report)))
    return report.complete


def _exported() -> dict[str, str]:
    """Return the environment with what `.env` adds, for children that may run elsewhere."""
    settings = {
        name.upper(): ",".join(value) if isinstance(value, tuple) else str(value)
        for name, (value, origin) in read().items()
        if origin != "default"
    }
    return {**_LOCAL, **os.environ, **settings}


def _watch(
    settings: Settings,
    supervisor: Supervisor,
    ids: set[int],
    monitoring: bool,
    keep_running: bool,
    as_json: bool,
    raise_if_asked: Callable[[], None],
) -> list[JobStatus]:
    """Look at the jobs until all of them ended, or are paused and what they had published is resolved.

    Jobs queued meanwhile are watched as well.
    """
    rates, settled = Rates(time.monotonic), Settled(time.monotonic)
    connection: Connection | None = None
    with _display(as_json) as show:
        while True:
            raise_if_asked()
            supervisor.check()
            try:
                connection = connection or engine.connect(settings, "process", autocommit=True)
                found = _look(connection, settings, ids)
                if over := not keep_running and _over(connection, found, settled):
                    found = _look(connection, settings, ids)  # with what was stored since
            except (OutageError, psycopg.OperationalError):
                connection = None  # the services wait for the database too
                time.sleep(_LOOK_SECONDS)
                continue
            rates.note(found)
            show(found, rates, supervisor if monitoring else None)
            if over:
                return found
            time.sleep(_LOOK_SECONDS)


def _over(connection: Connection, found: list[JobStatus], settled: Settled) -> bool:
    """Return whether all of them ended or are paused, and nothing of the paused is under way that is worth a wait."""
    if any(job.state in ("queued", "running", "cancelling") for job in found):
        return False
    return settled(sum(jobs.under_way(connection, job.id) for job in found if job.state == "paused"))


def _look(connection: Connection, settings: Settings, ids: set[int]) -> list[JobStatus]:
    ids |= {job.id for job in jobs.all_jobs(connection, settings.chain_id, live_only=True, most=1000)}
    return [jobs.job_status(connection, settings.chain_id, job_id) for job_id in sorted(ids)]


@contextmanager
def _display(as_json: bool) -> Iterator[Show]:
    """Yield a function that shows the state: bars on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=as_json)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:

            def draw(found: list[JobStatus], rates: Rates, supervisor: Supervisor | None) -> None:
                live.update(render(found, rates, supervisor))

            yield draw
        return
    last = [0.0]

    def show(found: list[JobStatus], rates: Rates, _: Supervisor | None) -> None:
        if time.monotonic() - last[0] >= _LINE_SECONDS:
            last[0] = time.monotonic()
            for line in rates.lines(found):
                sys.stderr.write(line + "\n")

    yield show


def _build_indexes(settings: Settings, connection: Connection) -> int:
    """Build the deferred indexes that are due now, with a persister that has begun to; return how many."""
    lacking = {index.name for index in indexes.missing_indexes(connection)}
    if not lacking:
        return 0
    click.echo(f"building {len(lacking)} indexes", err=True)
    with engine.connect(settings, "process", autocommit=True) as second:
        indexes.build_due_indexes(connection, second, wait=True)
    return len(lacking - {index.name for index in indexes.missing_indexes(connection)})


def _report(
    connection: Connection,
    settings: Settings,
    finished: list[JobStatus],
    before: Mapping[int, int],
    seconds: float,
    supervisor: Supervisor,
    built: int,
) -> Report:
    stored = sum(job.stored - before.get(job.id, 0) for job in finished)
    letters: dict[str, int] = {}
    for job in finished:
        for code, count, _ in jobs.dead_by_code(connection, job.id):
            letters[code] = letters.get(code, 0) + count
    return Report(
        jobs=[asdict(jobs.job_status(connection, settings.chain_id, job.id)) for job in finished],
        seconds=round(seconds, 2),
        stored=stored,
        dead=sum(job.dead for job in finished),
        blocks_per_second=round(stored / seconds, 1),
        dead_letters=letters,
        restarts={child.name: child.restarts for child in supervisor.children if child.restarts},
        indexes_built=built,
    )
