"""Python's own knobs that a process with a fetch thread turns (docs/adr/lean-http.md has the numbers)."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

from indexer.rpc.settings import RpcSettings


def tune(settings: RpcSettings) -> Callable[[], None]:
    """Turn the knobs for the whole process; the returned function turns them back.

    - switch interval: beside a busy main thread each system call of the fetch thread waits this long for the lock
    - garbage collector: parsed blocks are trees that free themselves; looking for cycles in them cost as much as
      parsing them. What lives already is frozen, so that the rare full collection does not walk over it.
    """
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    if settings.switch_interval_seconds is not None:
        sys.setswitchinterval(min(interval, settings.switch_interval_seconds))
    if settings.gc_threshold is not None and threshold[0] > 0:
        gc.freeze()
        gc.set_threshold(max(threshold[0], settings.gc_threshold), *threshold[1:])

    def turn_back() -> None:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        if settings.gc_threshold is not None:
            gc.unfreeze()

    return turn_back
