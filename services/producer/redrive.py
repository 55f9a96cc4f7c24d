"""Replays by itself what may succeed now: letters whose cause was time or load. Off unless REDRIVE_SECONDS is set."""

from __future__ import annotations

import logging
import threading
import time

import psycopg

from indexer.error_codes import Replay, worth_replaying
from indexer.errors import IndexerError
from indexer.kafka.replay import ReplayTransactions
from indexer.replay.run import Replayer
from indexer.replay.selection import Selection
from indexer.settings import Settings
from indexer.storage import engine, replays
from indexer.storage.jobs import Connection
from indexer.storage.replays import Run
from indexer.topics import Topics

log = logging.getLogger(__name__)

ACTOR = "redrive"
_LOCK = 0x1D8E_0005  # first key of pg_try_advisory_lock; the second is the chain's hash
_LOOK_SECONDS = 15.0
_MOST = 1000  # letters in one run
_CANARIES = 10
_AGO = "SELECT clock_timestamp() - make_interval(secs => %s)"  # by the clock that says when a letter was indexed


class Redrive:
    """One producer does it at a time; a run that a killed one left is gone on with first."""

    def __init__(self, settings: Settings, topics: Topics, partitions: int) -> None:
        self._settings, self._topics, self._partitions = settings, topics, partitions
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redrive", daemon=True)

    def start(self) -> None:
        """Begin, if it is switched on."""
        if self._settings.redrive_seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def look(self) -> Run | None:
        """Replay what is due; return the run, None where there was nothing to do, or another producer does it."""
        with engine.connect(self._settings, "producer", autocommit=True) as connection:
            row = connection.execute(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK, str(self._settings.chain_id))
            ).fetchone()
            if row is None or not row[0]:
                return None
            left = replays.newest(connection, self._settings.chain_id, 1, actor=ACTOR)
            run = left[0] if left else self._freeze(connection)
            return None if run is None else self._carry_out(connection, run)

    def _freeze(self, connection: Connection) -> Run | None:
        row = connection.execute(_AGO, (self._settings.redrive_seconds,)).fetchone()
        assert row is not None
        selection = Selection(
            codes=tuple(worth_replaying(Replay.NOW)),
            until=row[0],
            replayed_at_most=self._settings.redrive_times - 1,
        )
        return replays.freeze(connection, self._settings.chain_id, selection, actor=ACTOR, canary=_CANARIES, most=_MOST)

    def _carry_out(self, connection: Connection, run: Run) -> Run:
        transactions = ReplayTransactions(self._settings, run.name)
        try:
            replayer = Replayer(connection, run, transactions, self._topics, self._partitions, clock=time.monotonic)
            while replayer.run.state == "running" and not self._ended.is_set():
                self._ended.wait(replayer.step() or 0.0)
            log.info("replay %d: %s, %s", run.id, replayer.run.state, replayer.run.message)
            return replayer.run
        finally:
            transactions.close()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self.look()
            except (psycopg.Error, IndexerError) as error:
                log.warning("redrive: %s; later", type(error).__name__)
