"""Processes of a test: started with settings and fault orders, stopped whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.kafka_topics import until


class Processes:
    """Starts Python modules as processes; `faults` is the folder of their orders (indexer/faults.py)."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.faults = folder / "faults"
        self.faults.mkdir()
        self._folder, self._settings = folder, settings
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, slot: str = "0", **settings: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **self._settings,
            **settings,
            "SLOT": slot,
            "FAULT_HOOKS": str(self.faults),
            "END_WITH_PARENT": str(os.getpid()),
        }
        with self.log(slot).open("ab") as log:
            process = subprocess.Popen([sys.executable, "-m", module], env=environment, stdout=log, stderr=log)
        self._started.append(process)
        return process

    def log(self, slot: str) -> Path:
        return self._folder / f"slot-{slot}.log"

    def order(self, place: str, word: str, slot: str | None = None) -> None:
        """Have the first process that comes by `place` killed, stopped or terminated."""
        (self.faults / (place if slot is None else f"{place}@{slot}")).write_text(word)

    def fired(self, place: str) -> int:
        return sum(1 for path in self.faults.iterdir() if path.name.startswith(place) and ".fired." in path.name)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


@contextmanager
def running(folder: Path, settings: dict[str, str]) -> Iterator[Processes]:
    processes = Processes(folder, settings)
    try:
        yield processes
    finally:
        processes.close()


def ended(process: subprocess.Popen[bytes], seconds: float = 60.0) -> int:
    until(lambda: process.poll() is not None, "the process ends", seconds)
    return int(process.returncode)
