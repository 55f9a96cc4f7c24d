"""Starting and ending processes: each under a guard, each known by pid and start time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import FatalError

GUARD = Path(__file__).with_name("guard.py")
POLL = 0.05


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    started: str  # opaque: equal for the same process, different for another

    def alive(self) -> bool:
        """True while this very process runs; a zombie does not run."""
        return started(self.pid) == self.started

    def send(self, number: int) -> bool:
        """Send a signal to this process, never to another; False when it is gone."""
        if not self.alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False


def identify(pid: int) -> ProcessId | None:
    """The identity of a running process, None when there is none."""
    when = started(pid)
    return None if when is None else ProcessId(pid, when)


def started(pid: int) -> str | None:
    """When the process `pid` started, None when it does not run."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _started_by_ps(pid)
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks = fields[0], fields[19]  # proc_pid_stat(5): fields 3 and 22
    return None if state in "ZX" else f"{boot()}:{ticks}"


def boot() -> str:
    """Ticks count from the boot, so the boot belongs to the identity."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]


def _started_by_ps(pid: int) -> str | None:
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, when = shown.stdout.strip().partition(" ")
    return when.strip() if when and not state.startswith("Z") else None


def children(pid: int) -> list[ProcessId]:
    """The direct children of `pid`."""
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = (line.split() for line in shown.stdout.splitlines())
    found = (identify(int(child)) for child, parent in pairs if int(parent) == pid)
    return [child for child in found if child is not None]


@dataclass(slots=True)
class Guarded:
    """A process that ends with us until it is released."""

    process: ProcessId | None
    guard: subprocess.Popen[bytes]
    lifeline: int

    def release(self) -> None:
        """Let the process outlive us."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.lifeline, b"r")
        self.close()

    def close(self) -> None:
        """Let go of the lifeline: the process ends unless it was released. Returns when that is done."""
        os.close(self.lifeline)
        self.guard.wait()


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    alive: Path,
    user: str | None = None,
    end_signal: signal.Signals = signal.SIGKILL,
    remove: Path | None = None,
) -> Guarded:
    """Start `command` in a session of its own, its output appended to `log`.

    It ends by `end_signal` when this process ends before `release`; then `remove` is removed too. Until one of both is
    done, the guard holds a shared lock on the file `alive`.
    """
    reader, writer = os.pipe()
    lock = os.open(alive, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    options = ["--lifeline", str(reader), "--log", str(log), "--end-signal", str(int(end_signal))]
    options += ["--user", user] if user else []
    options += ["--remove", str(remove)] if remove else []
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), *options, "--", *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[reader, lock],
        start_new_session=True,
    )
    os.close(reader)
    os.close(lock)
    assert guard.stdout is not None
    assert guard.stderr is not None
    first = guard.stdout.readline()
    guard.stdout.close()
    if not first:
        reason = guard.stderr.read().decode(errors="replace").strip().splitlines()
        os.close(writer)
        guard.wait()
        raise FatalError(f"cannot start {Path(command[0]).name}: {reason[-1] if reason else 'unknown reason'}")
    guard.stderr.close()
    return Guarded(identify(int(first)), guard, writer)


def run(command: Sequence[str | Path], *, log: Path, alive: Path, user: str | None = None) -> None:
    """Run a short command to its end, under a guard as well; raises FatalError with the last line of its log."""
    guarded = spawn(command, log=log, alive=alive, user=user, end_signal=signal.SIGTERM)
    try:
        code = guarded.guard.wait()
    finally:
        guarded.close()
    if code != 0:
        raise FatalError(f"{Path(command[0]).name} failed with exit code {code}: {last_line(log)} (see {log})")


def wait_for_guards(alive: Path, seconds: float = 15.0) -> bool:
    """Wait for the guards of a start that was killed to end their servers; False when they did not in time."""
    with alive.open("a") as lock:

        def nobody_holds_it() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        return wait_until(nobody_holds_it, seconds)


def last_line(log: Path) -> str:
    """The last line that a person would look for: the last one that names an error, or simply the last."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-200:] if line.strip()]
    except FileNotFoundError:
        return "it wrote no log"
    telling = [line for line in lines if any(word in line for word in ("Exception", "ERROR", "FATAL", "Error:"))]
    return (telling or lines or ["it wrote nothing"])[-1]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until `condition` holds; False when it did not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def end(processes: Iterable[ProcessId], how: signal.Signals, seconds: float) -> None:
    """End processes by `how` and, those that remain after `seconds`, by SIGKILL; returns when they are gone."""
    running = [process for process in processes if process.send(how)]
    if wait_until(lambda: not any(process.alive() for process in running), seconds):
        return
    for process in running:
        process.send(signal.SIGKILL)
    wait_until(lambda: not any(process.alive() for process in running), 10.0)
