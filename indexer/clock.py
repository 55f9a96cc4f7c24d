"""The time of day, for what others are told; what lasts or is due here is measured with time.monotonic, never stepped.

A test steps the clock of one process while it runs: it leaves a file `clock.<pid>` with the seconds that this process
is to be ahead in the folder that FAULT_HOOKS names (indexer/faults.py). Without that folder this is time.time.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_FOLDER = os.environ.get("FAULT_HOOKS")


def _stepped() -> float:
    assert _FOLDER is not None
    with suppress(OSError):  # no order: on time
        return time.time() + float((Path(_FOLDER) / f"clock.{os.getpid()}").read_text())
    return time.time()


wall = time.time if _FOLDER is None else _stepped  # Unix seconds


def wall_ms() -> int:
    """Return the time of day in Unix milliseconds."""
    return int(wall() * 1000)
