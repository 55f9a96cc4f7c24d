"""Ctrl-C and SIGTERM as an exception, for commands that have something to bring in order before they end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def asked_to_end() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt once SIGINT or SIGTERM came.

    The signal raises it at once, but Python only prints what is raised inside a finalizer or a library's callback.
    Python itself would not listen where SIGINT was ignored at its start, as a script's `indexer … &` has it, and would
    die of SIGTERM on the spot.
    """
    asked = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    def raise_if_asked() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield raise_if_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
