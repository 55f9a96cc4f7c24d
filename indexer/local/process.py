"""`batch process`: the services as child processes, live progress, and a report at the end."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
import psycopg

from indexer.errors import OutageError
from indexer.interrupts import asked_to_end
from indexer.kafka.admin import KafkaAdmin
from indexer.local.report import Report, report_of_run
from indexer.local.screen import Rates, display, report_lines
from indexer.local.settled import Settled, Standstill
from indexer.local.stops import Stops, news
from indexer.local.supervisor import Supervisor
from indexer.settings import Settings, read
from indexer.storage import engine, indexes, jobs
from indexer.storage.jobs import Connection, JobStatus

_LOOK_SECONDS = 0.25
_LOCAL = {"SESSION_TIMEOUT_SECONDS": "6"}  # a killed process is noticed after this time, not after 45 s


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

    It ends, too, when a service is stopped by the dead-letter budget and nothing moves any more.
    Ctrl-C stops the services in order; the jobs stay queued and go on where they were. Raises OutageError, having
    started nothing, when Kafka or the database does not answer; those that go away later are waited for.
    """
    with engine.connect(settings, "process", autocommit=True) as connection:
        known = {job.id: job.stored for job in jobs.all_jobs(connection, settings.chain_id, live_only=True, most=1000)}
    if not known and not keep_running:
        click.echo("no jobs under way: `indexer batch queue blocks FIRST LAST` makes one", err=as_json)
        if as_json:
            click.echo(json.dumps(asdict(Report.of_nothing())))
        return True
    KafkaAdmin(settings).brokers()  # services start again for ever where it is away: told at once
    supervisor = Supervisor(logs, {**_exported(), "MAX_JOBS": str(most_jobs)}, settings.metrics_port)
    started = time.monotonic()
    with asked_to_end() as raise_if_asked:  # until the last service has stopped, the indexes' build included
        try:
            supervisor.start(counts)
            if settings.metrics_port:
                served = ", ".join(f"{child.name} :{child.metrics_port}" for child in supervisor.children)
                click.echo(f"metrics and health: {served}", err=True)
            with closing(Stops(settings)) as stops:
                look = partial(_watch, settings, supervisor, lambda: stops.found, set(known))
                finished = look(monitoring, keep_running, as_json, raise_if_asked)
            seconds = time.monotonic() - started
            supervisor.dismiss("producer", "decoder")  # they end while the indexes are built
            with engine.connect(settings, "process", autocommit=True) as connection:
                built = _build_indexes(settings, connection)
                report = report_of_run(connection, finished, known, seconds, supervisor, built, stops.found)
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
    stops: Callable[[], Mapping[str, str]],
    ids: set[int],
    monitoring: bool,
    keep_running: bool,
    as_json: bool,
    raise_if_asked: Callable[[], None],
) -> list[JobStatus]:
    """Look at the jobs until all of them ended, or are paused and what they had published is resolved.

    Jobs queued meanwhile are watched as well. Where a service is stopped, that nothing moves any more is the end.
    """
    rates, settled, standstill = Rates(time.monotonic), Settled(time.monotonic), Standstill(time.monotonic)
    stopped: Mapping[str, str] = {}
    connection: Connection | None = None
    with display(as_json) as show:
        while True:
            raise_if_asked()
            supervisor.check()
            before, stopped = stopped, stops()
            for line in news(before, stopped):
                sys.stderr.write(line + "\n")  # as it is now: the bars make way for what is written to it
            try:
                connection = connection or engine.connect(settings, "process", autocommit=True)
                found = _look(connection, settings, ids)
                still = standstill(stopped, found)
                if over := not keep_running and (_over(connection, found, settled) or still):
                    found = _look(connection, settings, ids)  # with what was stored since
            except (OutageError, psycopg.OperationalError):
                connection = None  # the services wait for the database too
                standstill.begin_again()
                time.sleep(_LOOK_SECONDS)
                continue
            rates.note(found)
            show(found, rates, supervisor if monitoring else None, stopped)
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


def _build_indexes(settings: Settings, connection: Connection) -> int:
    """Build the deferred indexes that are due now, with a persister that has begun to; return how many."""
    lacking = {index.name for index in indexes.missing_indexes(connection)}
    if not lacking:
        return 0
    click.echo(f"building {len(lacking)} indexes", err=True)
    with engine.connect(settings, "process", autocommit=True) as second:
        indexes.build_due_indexes(connection, second, wait=True)
    return len(lacking - {index.name for index in indexes.missing_indexes(connection)})
