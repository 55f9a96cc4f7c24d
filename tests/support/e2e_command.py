"""`batch process` as a command of its own, killed with everything that it started; and what is stored, row by row."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.settings import Settings
from indexer.storage.jobs import Connection
from tests.support.command_line import variables
from tests.support.waiting import wait_for


class BatchProcess:
    """`indexer batch process` running in a folder."""

    def __init__(self, settings: Settings, folder: Path, *options: str, **environ: str) -> None:
        self._folder, self._out = folder, folder / "batch-process.txt"
        self._options, self._environ = options, {**os.environ, **variables(settings), **environ}
        self.killed_at = 0.0
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        logs = str(self._folder / "logs")
        with self._out.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "indexer.cli", "batch", "process", "--logs", logs, *self._options],
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self) -> str:
        return self._out.read_text(errors="replace")

    def last_words(self) -> str:
        """Return how the output of the command and of each service ends, and who still runs."""
        logs = sorted((self._folder / "logs").glob("*.log"))
        ends = [f"-- {each.name}: {each.read_text(errors='replace')[-1500:]}" for each in (self._out, *logs)]
        return "\n".join([*ends, f"running: {self.services()}"])

    def services(self) -> list[int]:
        """Return the pids of the services that run now."""
        with contextlib.suppress(OSError):
            return list(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))
        return []

    def kill(self, command_too: bool = True) -> None:
        """SIGKILL all services at once, with the command that started them or without it."""
        children = self.services()
        os.kill(self.pid, signal.SIGSTOP)  # so that it starts none again in between
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        self.killed_at = time.monotonic()
        if command_too:
            self._process.kill()
            self._process.wait()
        else:
            os.kill(self.pid, signal.SIGCONT)
        wait_for(lambda: not any(map(_alive, children)), 10, "the services end")

    def start_again(self) -> None:
        """Start the command anew, unless it survived."""
        if self._process.poll() is not None:
            self._process = self._started()

    def wait(self, seconds: float) -> int:
        """Return the exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"batch process is not done after {seconds:g} s: {self.said()[-2000:]}") from None

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()


@contextmanager
def batch_process(settings: Settings, folder: Path, *options: str, **environ: str) -> Iterator[BatchProcess]:
    """Yield a running `batch process`, which is killed at the end if it still runs."""
    running = BatchProcess(settings, folder, *options, **environ)
    try:
        yield running
    except BaseException:
        sys.stderr.write(running.last_words() + "\n")
        raise
    finally:
        running.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


Rows = dict[int, tuple[str, str]]


def rows_written(connection: Connection) -> Rows:
    """Return, for each stored block, when and where its row and those of its transactions were written."""
    found = connection.execute(
        """
        SELECT number, stored_at || ' ' || ctid::text || ' ' || xmin::text,
               (SELECT string_agg(t.ctid::text || ' ' || t.xmin::text, ',' ORDER BY transaction_index)
                FROM transactions t WHERE t.chain_id = b.chain_id AND t.block_number = b.number)
        FROM blocks b
        """
    )
    return {int(number): (str(block), str(transactions)) for number, block, transactions in found}


def writers(connection: Connection) -> int:
    """Return how many database sessions of persisters live; what a killed one had sent is still carried out."""
    row = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE '%indexer-persister-%'"
    ).fetchone()
    assert row is not None
    return int(row[0])
