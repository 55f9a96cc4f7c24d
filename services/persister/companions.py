"""What runs beside the persister's main loop: each on a thread, each ending the process when it fails."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg

from indexer.errors import IndexerError
from indexer.storage.dead_letters import reopen_overdue
from indexer.storage.engine import Connection
from indexer.storage.indexes import build_due_indexes, missing_indexes

log = logging.getLogger(__name__)


class Companions:
    """Threads that live as long as the main loop; `stop` tells all of them, the main loop included."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._asked, self._ended = stop, threading.Event()
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None

    def stop(self) -> bool:
        """Return whether the process is to end: it was asked to, or one of us failed."""
        return self._asked() or self._ended.is_set()

    def start(self, name: str, work: Callable[[Callable[[], bool]], None]) -> None:
        """Run `work(stop)` on a thread."""
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def every(self, seconds: float, name: str, step: Callable[[], object]) -> None:
        """Run `step` on a thread, again and again, with pauses."""

        def work(stop: Callable[[], bool]) -> None:
            while not stop():
                step()
                self._pause(seconds)

        self.start(name, work)

    def end(self, seconds: float = 30.0) -> None:
        """Tell the threads to stop, wait for them, and raise what one of them raised."""
        self._ended.set()
        for thread in self._threads:
            thread.join(seconds)
        if self._failure is not None:
            raise self._failure

    def _run(self, work: Callable[[Callable[[], bool]], None]) -> None:
        try:
            work(self.stop)
        except BaseException as error:
            self._failure = self._failure or error
            self._ended.set()

    def _pause(self, seconds: float) -> None:
        left = seconds
        while left > 0 and not self.stop():
            self._ended.wait(min(left, 0.2))
            left -= 0.2


class Reopener:
    """Opens replayed letters again that came to nothing (PROTOCOL 16)."""

    def __init__(self, chain_id: int, open_connection: Callable[[], Connection]) -> None:
        self._chain_id, self._open = chain_id, open_connection

    def __call__(self) -> None:
        try:
            with self._open() as connection:
                count = reopen_overdue(connection, self._chain_id)
        except (psycopg.Error, IndexerError) as error:
            log.info("opening letters again: %s; later", type(error).__name__)
            return
        if count:
            log.warning("%d letters were replayed and came to nothing: they are open again", count)


class IndexBuilder:
    """Builds deferred indexes as they become due; a database that is away is not its concern."""

    def __init__(self, open_connection: Callable[[], Connection]) -> None:
        self._open = open_connection
        self._connection: Connection | None = None

    def __call__(self) -> None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._open()
            if missing_indexes(self._connection):
                with self._open() as second:
                    for name in build_due_indexes(self._connection, second):
                        log.info("built index %s", name)
        except (psycopg.Error, IndexerError) as error:
            log.info("building indexes: %s; later", type(error).__name__)
