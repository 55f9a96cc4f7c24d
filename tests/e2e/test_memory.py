"""No process needs much memory, however large a block or a job is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.jobs.ranges import Ranges
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.jobs import Connection, NewJob
from tests.support.command_line import variables
from tests.support.e2e_command import BatchProcess, batch_process
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MOST_MIB = 300
BLOCKS = 1_500  # of 118 kB, and one of 6.5 MB among them
HUGE = 700
TEN_MILLION = 10_000_000


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    """A node that says it has ten million blocks; beyond its chain they are not there yet."""
    with Devchain.simulated(profile="bench", blocks=BLOCKS, huge=str(HUGE), faults={"head": TEN_MILLION}) as node:
        yield node


def test_no_process_needs_more_than_300_mib(
    deployment: Settings,
    database: Connection,
    node: Devchain,
    tmp_path: Path,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    settings = replace(deployment, rpc_urls=(node.url,))
    every_second = Ranges(tuple((n, n + 1) for n in range(1, 200_001, 2)))
    peaks = Peaks()
    peaks.note("batch queue", command_peak(settings, tmp_path, "batch", "queue", "blocks", 1, TEN_MILLION))
    with batch_process(settings, tmp_path, "--workers", "2", "--persisters", "2") as running:
        wait_for(lambda: peaks.look(running) and stored(database) >= BLOCKS, 180, "all blocks of the node are stored")
        scattered = jobs.create_job(database, NewJob(settings.chain_id, every_second, priority="high"))
        wait_for(lambda: peaks.look(running) and published(database, scattered) > 0, 60, "the scattered job is served")
        peaks.note("batch status", command_peak(settings, tmp_path, "batch", "status", "--detailed"))
        os.kill(running.pid, signal.SIGINT)
        wait_for(lambda: not peaks.look(running), 40, "everything stops in order")
        assert running.wait(20) == 130
    peaks.note("verify", command_peak(settings, tmp_path, "verify", "--from", 1, "--to", BLOCKS, "--sample", 20))

    record_testsuite_property("peak MiB", {name: round(peak) for name, peak in peaks.seen.items()})
    assert stored(database) == BLOCKS
    assert transactions_of(database, HUGE) > 1_000
    assert peaks.seen.keys() >= {"producer", "decoder", "persister", "batch process"}
    assert max(peaks.seen.values()) < MOST_MIB, dict(peaks.seen)


class Peaks:
    """The most resident memory of each kind of process, in MiB."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, float] = defaultdict(float)

    def note(self, name: str, mib: float) -> None:
        self.seen[name] = max(self.seen[name], mib)

    def look(self, running: BatchProcess) -> bool:
        """Note what the kernel says now; False when nothing runs any more."""
        found = [(pid, service_of(pid)) for pid in running.services()] + [(running.pid, "batch process")]
        seen = [(name, peak) for pid, name in found if (peak := peak_mib(pid)) is not None]
        for name, peak in seen:
            self.note(name, peak)
        return bool(seen)


def peak_mib(pid: int) -> float | None:
    """Return the peak of a process that runs (VmHWM of proc(5)); None for one that ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def service_of(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
    except OSError:
        return "ended"
    return command.rpartition("services.")[2].partition(".")[0] if "services." in command else "not yet itself"


def command_peak(settings: Settings, folder: Path, *arguments: object) -> float:
    """Run a command to its good end and return its peak in MiB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "indexer.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **variables(settings)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


def stored(database: Connection) -> int:
    return _number(database, "SELECT count(*) FROM blocks")


def published(database: Connection, job: int) -> int:
    return _number(database, "SELECT published FROM processing_jobs WHERE id = %s", job)


def transactions_of(database: Connection, number: int) -> int:
    return _number(database, "SELECT count(*) FROM transactions WHERE block_number = %s", number)


def _number(database: Connection, query: str, *parameters: object) -> int:
    row = database.execute(query, parameters or None).fetchone()
    assert row is not None
    return int(row[0])
