"""An indexer's services as processes of this machine, started, killed, frozen and looked at by a test."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from devchain.client import Devchain
from indexer.jobs.ranges import Ranges
from indexer.local.supervisor import Child, Supervisor
from indexer.settings import Settings
from indexer.storage import engine, jobs
from indexer.storage.jobs import JobStatus, NewJob
from tests.support.command_line import variables
from tests.support.waiting import wait_for

Value = TypeVar("Value")


class Services:
    """The services of one deployment: what falls is started again, what was added with `alone` is not."""

    def __init__(self, settings: Settings, node: Devchain, folder: Path, environ: dict[str, str]) -> None:
        self.settings = replace(settings, rpc_urls=(node.url,))
        self.hooks = folder / "hooks"
        self.hooks.mkdir(parents=True)
        self._logs = folder / "logs"
        self._environ = {**os.environ, **variables(self.settings), "FAULT_HOOKS": str(self.hooks), **environ}
        self._supervisor = Supervisor(self._logs, self._environ)
        self._alone: list[Supervisor] = []
        self.database = engine.connect(self.settings, "test", autocommit=True)

    # processes

    def ask(self, *urls: str) -> None:
        """Have what is started from now on ask these nodes."""
        self.settings = replace(self.settings, rpc_urls=urls)
        self._environ["RPC_URLS"] = ",".join(urls)

    def start(self, **counts: int) -> None:
        self._supervisor.start(counts)

    def add(self, service: str, slot: int) -> Child:
        return self._supervisor.add(service, slot)

    def alone(self, service: str, slot: int, **environ: str) -> Child:
        """Start a process with settings of its own; nobody starts it again."""
        supervisor = Supervisor(self._logs, {**self._environ, **environ})
        self._alone.append(supervisor)
        return supervisor.add(service, slot)

    def remove(self, child: Child) -> None:
        """Stop one in order."""
        self._supervisor.remove(child)

    def dismiss(self, *, kill: bool = False) -> None:
        """Stop those that were started alone: in order, or with SIGKILL."""
        for supervisor in self._alone:
            for child in supervisor.children:
                if kill and child.pid is not None:
                    os.kill(child.pid, signal.SIGKILL)
            supervisor.stop()
        self._alone.clear()

    @property
    def children(self) -> list[Child]:
        return self._supervisor.children

    def restarts(self, service: str) -> int:
        return sum(child.restarts for child in self.children if child.service == service)

    def kill(self) -> None:
        """SIGKILL every process."""
        for child in self.everybody():
            if child.process is not None and child.process.poll() is None:
                child.process.kill()
                child.process.wait()

    def close(self) -> None:
        for child in self.everybody():
            if is_frozen(child):
                os.kill(child.process.pid, signal.SIGKILL)  # type: ignore[union-attr]  # a frozen one has a process
        for supervisor in (*self._alone, self._supervisor):
            supervisor.stop()
        self.database.close()

    def log(self, child: Child) -> str:
        return child.log.read_text(errors="replace") if child.log.exists() else ""

    def logs(self, service: str) -> str:
        return "".join(path.read_text(errors="replace") for path in self._logs.glob(f"{service}-*.log"))

    def until(self, condition: Callable[[], Value], seconds: float, what: str) -> Value:
        """Wait for a condition; what falls meanwhile is started again."""

        def turn() -> Value:
            self._supervisor.check()
            return condition()

        try:
            return wait_for(turn, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._last_lines()}") from None

    def everybody(self) -> list[Child]:
        return [child for supervisor in (*self._alone, self._supervisor) for child in supervisor.children]

    def _last_lines(self) -> str:
        return "\n".join(
            f"-- {child.name}, pid {child.pid}, {child.restarts} restarts\n"
            + "\n".join(self.log(child).splitlines()[-8:])
            for child in self.everybody()
        )

    # faults

    def order(self, place: str, word: str, slot: int | None = None) -> Path:
        """Have the first process that comes by `place` killed or frozen; return the file that says so."""
        name = place if slot is None else f"{place}@{slot}"
        (self.hooks / f".{name}").write_text(word)
        return (self.hooks / f".{name}").rename(self.hooks / name)  # never seen half-written

    def waits(self, place: str, slot: int | None = None) -> bool:
        """True while nobody has obeyed the order."""
        return (self.hooks / (place if slot is None else f"{place}@{slot}")).exists()

    def fired(self, place: str) -> list[int]:
        """The pids that obeyed an order at this place, on whatever slot."""
        names = (path.name for path in self.hooks.iterdir() if ".fired." in path.name)
        return [int(name.rpartition(".")[2]) for name in names if name.split(".fired.")[0].split("@")[0] == place]

    # jobs

    def queue(self, blocks: Iterable[tuple[int, int]], **options: object) -> int:
        """Queue half-open ranges of blocks as `batch queue manifest` does."""
        wanted = Ranges.of(blocks)
        job = NewJob(self.settings.chain_id, wanted, **options)  # type: ignore[arg-type]  # what the test names
        return jobs.create_job(self.database, job)

    def job(self, job_id: int) -> JobStatus:
        return jobs.job_status(self.database, self.settings.chain_id, job_id)

    def is_done(self, job_id: int) -> bool:
        return self.job(job_id).state == "done"

    def partitions_of(self, persister: Child) -> set[int]:
        """Return the partitions of `blocks.decoded` whose recorded database session is this persister's, and lives."""
        prefix = self.settings.topic_prefix
        rows = self.database.execute(
            """
            SELECT p.partition FROM consumer_progress p
            JOIN pg_stat_activity a ON a.pid = p.backend_pid AND a.backend_start = p.backend_start
            WHERE p.consumer_group = %s AND a.application_name = %s
            """,
            (f"{prefix}persister", f"{prefix}indexer-persister-{persister.slot}"),
        ).fetchall()
        return {int(row[0]) for row in rows}

    def offsets(self) -> dict[int, int]:
        """Return how far each partition of `blocks.decoded` is stored."""
        rows = self.database.execute(
            "SELECT partition, next_offset FROM consumer_progress WHERE consumer_group = %s",
            (f"{self.settings.topic_prefix}persister",),
        ).fetchall()
        return {int(partition): int(offset) for partition, offset in rows}

    def stored(self) -> int:
        row = self.database.execute("SELECT count(*) FROM blocks").fetchone()
        assert row is not None
        return int(row[0])


def is_frozen(child: Child) -> bool:
    """True when the process was stopped by a signal, and not continued."""
    if child.pid is None:
        return False
    try:
        return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def thaw(child: Child) -> None:
    assert child.pid is not None, f"{child.name} ended while it was frozen"
    os.kill(child.pid, signal.SIGCONT)


@contextmanager
def services(settings: Settings, node: Devchain, folder: Path, **environ: str) -> Iterator[Services]:
    """Yield the (not yet started) services of a deployment; all of them are gone afterwards."""
    running = Services(settings, node, folder, environ)
    try:
        yield running
    finally:
        running.close()
