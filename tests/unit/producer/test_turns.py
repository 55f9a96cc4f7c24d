"""The producer's loop is turned until it is to end; a database that is away is waited for, not died of."""

from __future__ import annotations

from typing import cast

import psycopg

from indexer.errors import OutageError
from indexer.storage.jobs import Connection
from services.producer.turns import Turns, keep_turning

CONNECTION = cast("Connection", object())


class World:
    """A loop, its database and the time; what the loop does is told by `steps`, what connecting does by `tries`."""

    def __init__(self, steps: list[Exception | float], tries: list[Exception | None] | None = None) -> None:
        self.now, self.turns = 100.0, Turns(0.0)
        self.outages: list[str | None] = []
        self.reconnected = 0
        self._steps, self._tries = steps, tries or []

    def step(self) -> float:
        done = self._steps.pop(0)
        if isinstance(done, Exception):
            raise done
        return done

    def reconnect(self, connection: Connection) -> None:
        assert connection is CONNECTION
        self.reconnected += 1

    def connect(self) -> Connection:
        if (error := self._tries.pop(0)) is not None:
            raise error
        return CONNECTION

    def pause(self, seconds: float) -> None:
        self.outages.append(self.turns.outage)
        self.now += seconds

    def run(self) -> None:
        keep_turning(self, self.connect, lambda: not self._steps, self.turns, lambda: self.now, self.pause)


def test_the_loop_turns_until_the_end_and_pauses_as_long_as_it_says() -> None:
    world = World([0.1, 0.0, 0.2])

    world.run()

    assert world.now == 100.3
    assert world.turns.signs(world.now, (), paused=False).turned < 0.3
    assert world.reconnected == 0


def test_a_database_that_is_away_is_waited_for() -> None:
    away = [OutageError("no answer", code="DATABASE_DOWN"), psycopg.OperationalError("starting up"), None]
    world = World([psycopg.OperationalError("cut"), 0.1, 0.1], away)

    world.run()

    assert world.outages == ["DATABASE_DOWN"] * 3 + [None] * 2
    assert world.reconnected == 1


def test_while_it_waits_the_loop_counts_as_turning() -> None:
    world = World([psycopg.OperationalError("cut"), 0.1], [OutageError("no answer")] * 500 + [None])

    world.run()

    assert world.now > 600
    assert world.turns.signs(world.now, (), paused=False).turned < 1


def test_health_hears_of_what_others_see_and_of_a_chain_that_is_paused() -> None:
    turns = Turns(5.0, outage="DATABASE_DOWN")

    signs = turns.signs(6.0, (None, "RPC_OUTAGE", "DATABASE_DOWN"), paused=True)

    assert signs.away == ("DATABASE_DOWN", "RPC_OUTAGE")
    assert signs.stopped == ("CHAIN_PAUSED",)
    assert signs.turned == 1.0
