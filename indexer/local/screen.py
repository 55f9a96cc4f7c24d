"""What `batch process` shows: bars with rate and time left, and the report at the end."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from indexer.budget import stop_in_words
from indexer.local.supervisor import Supervisor
from indexer.storage.jobs import JobStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

    from indexer.local.report import Report

Show = Callable[[list[JobStatus], "Rates", Supervisor | None, Mapping[str, str]], None]

_WINDOW_SECONDS = 10.0
_LINE_SECONDS = 5.0  # between two lines of progress where no terminal is


class Rates:
    """Blocks a second of each job over the last ten seconds, and the time that is left at this rate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[int, deque[tuple[float, int]]] = {}

    def note(self, found: Sequence[JobStatus]) -> None:
        now = self._clock()
        for job in found:
            seen = self._seen.setdefault(job.id, deque())
            seen.append((now, job.stored + job.dead))
            while now - seen[0][0] > _WINDOW_SECONDS:
                seen.popleft()

    def rate(self, job: JobStatus) -> float:
        seen = self._seen.get(job.id)
        if not seen or seen[-1][0] == seen[0][0]:
            return 0.0
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def left(self, job: JobStatus) -> str:
        rate = self.rate(job)
        if job.remaining == 0:
            return "done"
        return duration(job.remaining / rate) if rate > 0 else "–"

    def lines(self, found: Sequence[JobStatus]) -> list[str]:
        return [
            f"job {job.id}: {job.state}, {job.stored:,}/{job.total:,} stored, {job.dead:,} dead,"
            f" {self.rate(job):,.0f} blocks/s, " + ("done" if job.remaining == 0 else f"{self.left(job)} left")
            for job in found
        ]


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


@contextmanager
def display(as_json: bool) -> Iterator[Show]:
    """Yield a function that shows the state: bars on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=as_json)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, redirect_stderr=sys.stderr.isatty()) as live:

            def draw(
                found: list[JobStatus], rates: Rates, supervisor: Supervisor | None, stopped: Mapping[str, str]
            ) -> None:
                live.update(render(found, rates, supervisor, stopped))

            yield draw
        return
    last = [0.0]

    def show(found: list[JobStatus], rates: Rates, _: Supervisor | None, __: Mapping[str, str]) -> None:
        if time.monotonic() - last[0] >= _LINE_SECONDS:
            last[0] = time.monotonic()
            for line in rates.lines(found):
                sys.stderr.write(line + "\n")

    yield show


def render(
    found: Sequence[JobStatus], rates: Rates, supervisor: Supervisor | None, stopped: Mapping[str, str]
) -> RenderableType:
    """Return what a terminal shows; `rich` is imported by then, not before the services are started."""
    from rich.console import Group
    from rich.text import Text

    words = [Text(stop_in_words(service, why), style="red") for service, why in stopped.items()]
    return Group(_jobs(found, rates), *([_processes(supervisor)] if supervisor is not None else []), *words)


def _jobs(found: Sequence[JobStatus], rates: Rates) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, justify in (("job", "right"), ("", "left"), ("stored", "right"), ("dead", "right")):
        table.add_column(name, justify="left" if justify == "left" else "right")
    table.add_column("blocks/s", justify="right")
    table.add_column("left", justify="right")
    table.add_column("state")
    for job in found:
        bar = ProgressBar(total=job.total, completed=job.stored + job.dead, width=36)
        dead = f"[red]{job.dead:,}[/red]" if job.dead else "0"
        stored = f"{job.stored:,}/{job.total:,}"
        table.add_row(str(job.id), bar, stored, dead, f"{rates.rate(job):,.0f}", rates.left(job), job.state)
    return table


def _processes(supervisor: Supervisor) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("process", "pid", "restarts", "metrics", "log"):
        table.add_column(name)
    for child in supervisor.children:
        pid = str(child.pid) if child.pid is not None else "[red]down[/red]"
        port = f":{child.metrics_port}" if child.metrics_port else "–"
        table.add_row(child.name, pid, str(child.restarts), port, str(child.log))
    return table


def report_lines(report: Report) -> list[str]:
    lines = [_job_line(job) for job in report.jobs]
    lines.append(
        f"{report.stored:,} blocks in {report.seconds:.1f} s, {report.blocks_per_second:,.0f} blocks/s;"
        f" {report.indexes_built} indexes built"
    )
    if report.restarts:
        fallen = ", ".join(f"{name} {count} times" for name, count in report.restarts.items())
        lines.append(f"started again: {fallen}")
    for code, count in report.dead_letters.items():
        lines.append(f"{count:,} dead letters {code}: `indexer dlq list` shows them")
    lines += [stop_in_words(service, why) for service, why in report.stopped.items()]
    return lines


def _job_line(job: Mapping[str, Any]) -> str:
    if job["state"] == "done":
        return f"job {job['id']}: done, {job['stored']:,} stored, {job['dead']:,} dead of {job['total']:,}"
    dead = f", {job['dead']:,} dead" if job["dead"] else ""
    hint = f"; `indexer batch resume {job['id']}`" if job["state"] == "paused" else ""
    return f"job {job['id']}: {job['state']}, {job['stored']:,} of {job['total']:,} stored{dead}{hint}"
