"""Turns the producer's loop until it is to end, waits for a database that is away, and notes what health asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import psycopg

from indexer.errors import OutageError
from indexer.health import Signs
from indexer.storage.jobs import Connection

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 1.0  # between two tries to connect
_DOWN = "DATABASE_DOWN"


class Loop(Protocol):
    """What is turned."""

    def step(self) -> float: ...
    def reconnect(self, connection: Connection) -> None: ...


@dataclass(slots=True)
class Turns:
    """When the loop turned last, and what kept it from its work."""

    last: float
    outage: str | None = None

    def signs(self, now: float, away: Iterable[str | None], paused: bool) -> Signs:
        """Return the signs of the process; `away` has codes of what others miss, `paused`: by a fork too deep."""
        known = dict.fromkeys(code for code in (self.outage, *away) if code is not None)
        return Signs(now - self.last, away=tuple(known), stopped=("CHAIN_PAUSED",) if paused else ())


def keep_turning(
    loop: Loop,
    connect: Callable[[], Connection],
    stop: Callable[[], bool],
    turns: Turns,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Turn until `stop`; without its database the loop gets a new connection as soon as there is one."""
    while not stop():
        try:
            if turns.outage is not None:
                loop.reconnect(connect())
                turns.outage = None
            idle = loop.step()
        except (psycopg.OperationalError, OutageError) as error:
            if turns.outage is None:
                log.warning("database: %s; connecting again", type(error).__name__)
            turns.outage, idle = _DOWN, _PAUSE_SECONDS
        turns.last = clock()
        pause(idle)
