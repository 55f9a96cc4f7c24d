"""The producer's loop and a database that goes away: what arrived is not published again, and the end is in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
import pytest

from indexer.jobs.ranges import Ranges, Stripe
from indexer.settings import Settings
from indexer.storage.jobs import Lease
from services.producer import loop as producer_loop
from services.producer.loop import ProducerLoop
from services.producer.publisher import Publisher
from tests.unit.producer.kafka_client import Client

SETTINGS = Settings(chain_id=43114, kafka_bootstrap_servers="nowhere:1")
LEASE = Lease(7, 1, "running", "normal", "earliest", "backfill", 100, 1_000, None, None, True, 1, under_way=4)
STRIPE = Stripe(3, 0b1111)


@dataclass
class Jobs:
    """The table with one job, of which one stripe is recorded; each method stands for the statement of its name."""

    free: bool = True
    away: bool = False  # to whoever notes something
    published: list[int] = field(default_factory=list)

    def waiting(self, *_: object) -> list[tuple[int, int]]:
        return [(LEASE.id, 1)] if self.free else []

    def take_leases(self, *_: object) -> list[int]:
        self.free = False
        return [LEASE.id]

    def renew_lease(self, connection: object, job_id: int, owner: str, epoch: int | None, *_: object) -> Lease | None:
        return None if self.free and epoch is not None else LEASE

    def release_lease(self, *_: object) -> None:
        self._note()
        self.free = True

    def job_blocks(self, *_: object) -> Ranges:
        return Ranges.of([(192, 196)])

    def unpublished(self, *_: object) -> list[Stripe]:
        return [] if STRIPE.number in self.published else [STRIPE]

    def overdue(self, *_: object) -> list[Stripe]:
        return []

    def mark_published(self, connection: object, job_id: int, stripes: list[int]) -> None:
        self._note()
        self.published += stripes

    def _note(self) -> None:
        if self.away:
            raise psycopg.OperationalError("the connection is closed")


@dataclass
class World:
    """A loop that has taken the job and published its stripe; the brokers have not answered yet."""

    jobs: Jobs
    client: Client = field(default_factory=Client)
    now: float = 100.0

    def __post_init__(self) -> None:
        nothing = cast("Any", None)
        publisher = Publisher(SETTINGS, {"normal": "blocks.work"}, 4, make=self.client)
        self.loop = ProducerLoop(SETTINGS, nothing, publisher, nothing, "me", 4, lambda: self.now)
        self.loop.step()

    def turn(self) -> None:
        self.now += 2.0
        self.loop.step()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    jobs = Jobs()
    monkeypatch.setattr(producer_loop, "jobs", jobs)
    return World(jobs)


@pytest.mark.parametrize("lease_ran_out", [False, True])
def test_what_arrived_while_the_database_was_away_is_noted_and_not_published_again(
    world: World, lease_ran_out: bool
) -> None:
    world.client.answers = [None] * 4
    world.jobs.away = True
    with pytest.raises(psycopg.OperationalError):
        world.turn()

    world.jobs.away, world.jobs.free = False, lease_ran_out
    world.loop.reconnect(cast("Any", None))
    for _ in range(3):
        world.turn()

    assert world.jobs.published == [STRIPE.number]
    assert len(world.client.records) == STRIPE.blocks


def test_the_end_gives_the_lease_back(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.client.answers = [None] * 4

    world.loop.close()

    assert world.jobs.published == [STRIPE.number]
    assert world.jobs.free
    assert caplog.messages == []


@pytest.mark.parametrize("arrived", [False, True], ids=["a lease", "a lease and a confirmation"])
def test_the_end_does_without_a_database_that_is_away_and_says_so_once(
    world: World, arrived: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world.client.answers = [None] * 4 if arrived else []
    world.jobs.away = True

    world.loop.close()

    assert caplog.messages == ["database: OperationalError; ending without it, leases run out by themselves"]


def test_what_is_still_under_way_when_a_lease_is_taken_again_is_not_published_twice(world: World) -> None:
    world.jobs.free = True

    world.turn()
    world.client.answers = [None] * 4
    world.turn()

    assert world.jobs.published == [STRIPE.number]
    assert len(world.client.records) == STRIPE.blocks
