"""Signs of life of a process, in the folder of its slot: by them its successor knows whether and how it died.

A running process keeps `<name>.life` and touches it every second; in order it takes it away. What kills Python from
inside leaves a note in `<name>.note`: an exception that nobody caught, or a fatal signal (faulthandler writes it).
Without a note a process was killed from outside; the kernel's count of out-of-memory kills tells whether for memory.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TextIO

from indexer.caution import Death
from indexer.clock import wall_ms
from indexer.errors import IndexerError

log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0
_KILLED, _OUT_OF_MEMORY = "killed", "out of memory"
_VMSTAT = Path("/proc/vmstat")


def oom_kills() -> int:
    """Return how many processes of this machine the kernel has killed for want of memory."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


class Life:
    """A context: entered it tells how the predecessor died, left it says how this process ends."""

    def __init__(
        self,
        folder: Path,
        name: str,
        now_ms: Callable[[], int] = wall_ms,
        kills: Callable[[], int] = oom_kills,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._life, self._note = folder / f"{name}.life", folder / f"{name}.note"
        self._now_ms, self._kills = now_ms, kills
        self._ended = threading.Event()
        self._file: TextIO | None = None
        self._thread: threading.Thread | None = None
        self.death: Death | None = None

    def __enter__(self) -> Life:
        self.death = self._predecessor()
        if self.death is not None:
            log.warning("the predecessor in this slot died: %s", self.death.cause)
        self._file = self._note.open("w", encoding="utf-8")
        faulthandler.enable(self._file)
        self.beat()
        self._thread = threading.Thread(target=self._keep_beating, name="signs-of-life", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        faulthandler.disable()
        faulthandler.enable()
        assert self._file is not None
        if error is not None and isinstance(error, Exception) and not isinstance(error, IndexerError):
            self._file.write(f"{type(error).__name__} in {_place(at)}\n")  # perhaps a record's doing
            self.beat()
        else:
            self._life.unlink(missing_ok=True)
        self._file.close()

    def beat(self) -> None:
        """Say that we live."""
        new = self._life.with_suffix(".new")
        new.write_text(json.dumps({"at_ms": self._now_ms(), "oom_kills": self._kills()}))
        new.replace(self._life)

    def _keep_beating(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            try:
                self.beat()
            except OSError as error:
                log.warning("signs of life: %s", error)

    def _predecessor(self) -> Death | None:
        try:
            last = json.loads(self._life.read_text())
            at_ms, kills = int(last["at_ms"]), int(last["oom_kills"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # cut off while it was written: nothing is known
        if note := _first_line(self._note):
            return Death(note, at_ms)
        starved = self._kills() > kills
        return Death(_OUT_OF_MEMORY if starved else _KILLED, at_ms, counts=starved)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:200] for line in lines if line.strip()), "")


def _place(at: TracebackType | None) -> str:
    """Return where an exception was raised, without line numbers: a cause stays one over releases."""
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "an unknown place" if at is None else f"{at.tb_frame.f_globals.get('__name__')}.{at.tb_frame.f_code.co_name}"
