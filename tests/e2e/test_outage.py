"""The node goes away, then the database: services wait and say so, nothing dies or is dead-lettered, work resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from devchain.client import Devchain
from indexer import stack
from indexer.settings import Settings
from indexer.storage import engine, following, migrate
from indexer.storage.digest import wrong_balances
from tests.support.bars import at_most
from tests.support.deployment import CHAIN_ID, own_topics
from tests.support.e2e_health import Watched, watched
from tests.support.e2e_kafka import Cluster
from tests.support.e2e_services import Services, services

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]

BLOCKS = 4_000
RATE = 200.0  # blocks a second, so that there is work left when something goes away
RESUMES_SECONDS = 10.0
LONG = pytest.param(120.0, marks=pytest.mark.bar, id="two-minutes")


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=BLOCKS) as node:
        yield node


@dataclass
class World:
    """A deployment at work, of which nobody starts again what ends."""

    running: Services
    processes: list[Watched]
    servers: stack.RunningStack

    def of(self, *kinds: str) -> list[Watched]:
        return [each for each in self.processes if each.child.service in kinds]

    def all_ready(self) -> bool:
        return all(each.ready() for each in self.processes)

    def stored(self) -> int:
        """Return how many blocks are stored; -1 while the database is away."""
        with suppress(psycopg.OperationalError):
            return self.running.stored()
        return -1

    def work(self, first: int, last: int) -> int:
        """Queue blocks, and return the job when some of them are stored."""
        before = self.stored()
        job = self.running.queue([(first, last + 1)], rate=RATE)
        self.running.until(lambda: self.stored() > before + 100, 60, "blocks are stored")
        return job

    def red(self, code: str, *kinds: str) -> None:
        """Wait until every process of these kinds says what is away."""
        for each in self.of(*kinds):
            self.running.until(lambda: code in (each.problems() or ()), 40, f"{each.child.name} says {code}")  # noqa: B023

    def stays_red(self, code: str, seconds: float, *kinds: str) -> None:
        """Let time pass; nobody ends, hangs, or takes himself for ready."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert [each.child.name for each in self.processes if not each.alive()] == []
            assert [each.child.name for each in self.of(*kinds) if code not in (each.problems() or ())] == []
            time.sleep(0.5)  # between two looks

    def resumes(self, back: Callable[[], object]) -> None:
        """Bring back what was away: work goes on soon, everybody is ready again."""
        back()
        came_back, before = time.monotonic(), self.stored()
        self.running.until(lambda: self.stored() > before, 60, "blocks are stored again")
        took = time.monotonic() - came_back
        assert took <= at_most(RESUMES_SECONDS), f"the first block was stored {took:.1f} s after the recovery"
        self.running.until(self.all_ready, 40, "all are ready again")


@pytest.mark.parametrize("seconds", [pytest.param(3.0, id="short"), LONG])
def test_nothing_dies_while_the_node_and_then_the_database_are_away(
    servers: stack.RunningStack, node: Devchain, tmp_path: Path, seconds: float
) -> None:
    fresh = Settings(chain_id=CHAIN_ID, database_url=servers.database_url, topic_prefix="outage.")
    migrate.migrate(fresh)
    with own_topics(fresh, servers.bootstrap_servers) as settings, services(settings, node, tmp_path) as running:
        world = World(running, watched(running, {"producer": 1, "decoder": 2, "persister": 2}), servers)
        running.until(world.all_ready, 60, "all are ready")

        jobs = [world.work(1, BLOCKS // 2)]
        the_node_is_away(world, node, seconds)
        jobs.append(world.work(BLOCKS // 2 + 1, BLOCKS))
        the_database_is_away(world, seconds)

        running.until(lambda: all(map(running.is_done, jobs)), 120, "both jobs are done")
        assert [each.child.name for each in world.processes if not each.alive()] == []
        assert world.stored() == BLOCKS
        assert wrong_balances(running.database, CHAIN_ID) == []
        assert running.database.execute("SELECT * FROM dead_letters").fetchall() == []
        assert Cluster(settings).dead().total() == 0


def the_node_is_away(world: World, node: Devchain, seconds: float) -> None:
    node.faults(p_hangup=1.0)
    world.red("RPC_OUTAGE", "decoder")
    world.stays_red("RPC_OUTAGE", seconds, "decoder")
    assert all(each.ready() for each in world.of("producer", "persister")), "who needs no node is ready"
    world.resumes(lambda: node.faults(reset=True))


def the_database_is_away(world: World, seconds: float) -> None:
    world.servers.kill_postgres()
    world.red("DATABASE_DOWN", "producer", "persister")
    world.stays_red("DATABASE_DOWN", seconds, "producer", "persister")

    def back() -> None:
        world.servers.start_postgres()
        world.running.database = engine.connect(world.running.settings, "test", autocommit=True)

    world.resumes(back)


def test_a_producer_that_is_asked_to_end_while_the_database_is_away_ends_in_order(
    servers: stack.RunningStack, node: Devchain, tmp_path: Path
) -> None:
    fresh = Settings(chain_id=CHAIN_ID, database_url=servers.database_url, topic_prefix="ending.")
    migrate.migrate(fresh)
    with own_topics(fresh, servers.bootstrap_servers) as settings, services(settings, node, tmp_path) as running:
        (producer,) = watched(running, {"producer": 1})
        following.start(running.database, CHAIN_ID, BLOCKS, None)
        running.queue([(1, BLOCKS)], rate=RATE)
        running.until(lambda: both_held(running), 60, "both have a lease")

        servers.kill_postgres()
        running.until(lambda: "DATABASE_DOWN" in (producer.problems() or ()), 40, "the producer says so")
        assert producer.child.process is not None
        producer.child.process.terminate()

        assert producer.child.process.wait(30) == 0, running.log(producer.child)
        assert "Traceback" not in running.log(producer.child)
        assert running.log(producer.child).count("ending without it") == 2, "the loop and the head"


def both_held(running: Services) -> bool:
    rows = running.database.execute("SELECT lease_owner IS NOT NULL FROM processing_jobs").fetchall()
    return rows == [(True,), (True,)]
