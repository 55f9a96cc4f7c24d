"""What every long-running process does alike: logging, signals, one clear line for an error, an exit code.

Exit codes: 0 stopped in order, 1 an error after which a supervisor should start it again, 2 a user's mistake.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

import orjson

from indexer.errors import IndexerError, UserError
from indexer.settings import Settings

Main = Callable[[Settings, Callable[[], bool]], None]


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def set_up_logging(settings: Settings) -> None:
    """Log to stderr: JSON lines in production, plain text on a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    handler.setFormatter(_JsonLines() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """End when the process that started us ends, however it ends, if END_WITH_PARENT names it (a local run)."""
    parent = os.environ.get("END_WITH_PARENT")
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before we asked
        os._exit(1)


def _spare_the_collector() -> None:
    """Look for cycles rarely: blocks are trees that free themselves, and looking costs as much as parsing them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run(name: str, main: Main) -> int:
    """Run a service until SIGTERM or SIGINT and return its exit code; `main` gets the settings and `stop()`."""
    stopping = threading.Event()

    def ask_to_stop(_: int, __: FrameType | None) -> None:
        stopping.set()

    log = logging.getLogger(name)
    end_with_parent()
    try:
        settings = Settings.from_env()
        set_up_logging(settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, ask_to_stop)
        _spare_the_collector()
        log.info("started, pid %d, slot %r", os.getpid(), settings.slot)
        main(settings, stopping.is_set)
    except UserError as error:
        sys.stderr.write(f"{name}: {error} [{error.code}]\n")
        return 2
    except IndexerError as error:
        sys.stderr.write(f"{name}: {error} [{error.code}]\n")
        return 1
    log.info("stopped")
    return 0
