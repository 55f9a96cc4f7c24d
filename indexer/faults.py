"""Places where a test may kill or freeze this process; nothing happens unless FAULT_HOOKS names a folder.

A test writes a file `<place>` or `<place>@<slot>` with one word (abort, kill, stop or term) into the folder. The first
process that comes by claims it by renaming it to `<place>.fired.<pid>` (which proves that the fault hit) and obeys.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_FOLDER = os.environ.get("FAULT_HOOKS")
_SIGNALS = {"abort": signal.SIGABRT, "kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}

PLACES = (
    "producer.between-publish-and-record",
    "decoder.before-transaction",
    "decoder.between-produce-and-commit",
    "decoder.after-commit",
    "persister.before-transaction",
    "persister.before-copy",
    "persister.inside-copy",
    "persister.between-copy-and-commit",
    "persister.between-commit-and-offset",
    "persister.between-publish-and-delete",  # of the outbox
    "replay.before-transaction",
    "replay.between-produce-and-commit",
    "replay.after-commit",
    "replay.between-commit-and-mark",
    "replay.after-mark",
    "audit.after-portion",
)


def hook(place: str, key: bytes | None = None) -> None:
    """Obey the order that a test left for this place (and a record's key: decoder.record.43114:7), if any."""
    if _FOLDER is not None:
        _obey(Path(_FOLDER), place if key is None else f"{place}.{key.decode(errors='replace')}")


def _obey(folder: Path, place: str) -> None:
    slot = os.environ.get("SLOT", "")
    for name in (f"{place}@{slot}", place):
        order = folder / name
        try:
            word = order.read_text().strip()
            order.rename(folder / f"{name}.fired.{os.getpid()}")
        except OSError:
            continue  # no order, or another process claimed it
        os.kill(os.getpid(), _SIGNALS[word])
        return
