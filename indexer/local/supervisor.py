"""Starts the services as child processes, starts again what fell, and stops all of them in order."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexer.errors import FatalError, UserError

_USER_MISTAKE = 2
_QUICK_SECONDS = 5.0
_QUICK_DEATHS = 5
_GRACE_SECONDS = 20.0
# Where all share the processors, decoders get too far ahead: the rest is stored while half the processors idle.
_NICENESS = {"decoder": 5}
_NICE_AFTER_SECONDS = 2.0  # nobody has more to do than who starts


@dataclass(slots=True)
class Child:
    """One service process; its slot stays the same over restarts, so that it fences its own predecessor."""

    service: str
    slot: int
    log: Path
    metrics_port: int = 0  # 0: none
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    restarts: int = 0
    quick_deaths: int = 0
    is_nice: bool = False

    @property
    def name(self) -> str:
        return f"{self.service}-{self.slot}"

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None


@dataclass(slots=True)
class Supervisor:
    """A set of children; `check` is called often, `stop` once.

    They end with this process, even when it is killed: two sets with the same slots would fence each other for ever.
    """

    logs: Path
    environ: Mapping[str, str]
    metrics_port: int = 0  # of the first child; each has the next that is free. 0: what `environ` says
    module: str = "services.{}.main"  # what is run for a service
    clock: Callable[[], float] = time.monotonic
    niceness: Mapping[str, int] = field(default_factory=lambda: _NICENESS)
    children: list[Child] = field(default_factory=list)

    def start(self, counts: Mapping[str, int]) -> None:
        for service, count in counts.items():
            for slot in range(count):
                self.add(service, slot)

    def add(self, service: str, slot: int) -> Child:
        self.logs.mkdir(parents=True, exist_ok=True)
        child = Child(service, slot, self.logs / f"{service}-{slot}.log", self._free_port())
        self.children.append(child)
        self._launch(child)
        return child

    def check(self) -> None:
        """Start again what ended, and lower the priority of those that make way for others.

        Raises UserError when a service says that the user must change something, FatalError when one falls at once
        again and again; both with the last line of its log.
        """
        for child in self.children:
            if child.process is None:
                if self.clock() >= child.start_again_at:
                    self._launch(child)
                continue
            code = child.process.poll()
            if code is not None:
                self._after_death(child, code)
            else:
                self._make_nice(child)

    def remove(self, child: Child) -> None:
        """Stop one child in order and forget it."""
        self.children.remove(child)
        self._end([child])

    def dismiss(self, *services: str) -> None:
        """Ask these services to end; `stop` waits for them. Nothing is left for them to do."""
        for child in self.children:
            if child.service in services and child.process is not None:
                child.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop all in order: the producer first, so that nothing new is published, then the rest."""
        for service in dict.fromkeys(child.service for child in self.children):
            self._end([child for child in self.children if child.service == service])
        self.children.clear()

    def _free_port(self) -> int:
        """Return the lowest port that no child has: one that was removed left its own to the next."""
        if not self.metrics_port:
            return 0
        taken = {child.metrics_port for child in self.children}
        return next(port for port in itertools.count(self.metrics_port) if port not in taken)

    def _launch(self, child: Child) -> None:
        environ = {
            **self.environ,
            "SLOT": str(child.slot),
            "END_WITH_PARENT": str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
        if child.metrics_port:
            environ["METRICS_PORT"] = str(child.metrics_port)
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                [sys.executable, "-m", self.module.format(child.service)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Ctrl-C is for us, who stop the children in order. One session: Linux weighs niceness inside a session.
                process_group=0,
            )
        child.started_at, child.is_nice = self.clock(), False

    def _make_nice(self, child: Child) -> None:
        """Lower the priority of a child that is to make way for its siblings, once it has started."""
        if child.is_nice or child.pid is None or self.clock() - child.started_at < _NICE_AFTER_SECONDS:
            return
        niceness = os.getpriority(os.PRIO_PROCESS, 0) + self.niceness.get(child.service, 0)
        os.setpriority(os.PRIO_PROCESS, child.pid, niceness)
        child.is_nice = True

    def _after_death(self, child: Child, code: int) -> None:
        last = last_line(child.log)
        if code == _USER_MISTAKE:
            raise UserError(last or f"{child.name} refused to start; see {child.log}", code="SERVICE_REFUSED")
        quick = self.clock() - child.started_at < _QUICK_SECONDS
        child.quick_deaths = child.quick_deaths + 1 if quick else 0
        if child.quick_deaths >= _QUICK_DEATHS:
            raise FatalError(f"{child.name} keeps falling: {last} (see {child.log})", code="SERVICE_FALLS")
        child.process, child.restarts = None, child.restarts + 1
        child.start_again_at = self.clock() + min(0.2 * 2**child.quick_deaths, 5.0)

    def _end(self, children: Sequence[Child]) -> None:
        running = [child.process for child in children if child.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - 4096, 0))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
