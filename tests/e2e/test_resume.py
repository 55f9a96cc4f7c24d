"""After a kill of everything `batch process` goes on; what was stored before is neither fetched nor written again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer import stack
from indexer.jobs.ranges import Ranges
from indexer.settings import Settings
from indexer.storage import engine, jobs, migrate
from indexer.storage.digest import wrong_balances
from indexer.storage.jobs import Connection, NewJob
from tests.support.bars import at_most
from tests.support.deployment import CHAIN_ID, own_topics
from tests.support.e2e_command import BatchProcess, Rows, batch_process, rows_written, writers
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BLOCKS = 15_000
KILLED_AT = 500  # stored blocks; a database that is killed forgets the last of them, and gets them again from Kafka
GOES_ON_SECONDS = 10.0
GOES_ON_WITHOUT_SERVERS_SECONDS = 25.0


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=BLOCKS) as node:
        yield node


@pytest.mark.parametrize(
    "command_too",
    [
        pytest.param(True, id="everything", marks=pytest.mark.bar),
        pytest.param(False, id="all-services", marks=pytest.mark.figure),
    ],
)
def test_it_goes_on_after_a_kill(deployment: Settings, node: Devchain, tmp_path: Path, command_too: bool) -> None:
    settings = replace(deployment, rpc_urls=(node.url,))
    with engine.connect(settings, "test", autocommit=True) as look, at_work(settings, look, tmp_path) as it:
        it.kill(command_too)
        before = what_is_stored(look, node)

        it.start_again()
        goes_on(look, before, GOES_ON_SECONDS, it.killed_at)

        assert it.wait(120) == 0, it.said()
        nothing_is_done_twice(look, node, before)


@pytest.mark.bar
@pytest.mark.parametrize("command_too", [True, False], ids=["everything", "all-but-the-command"])
def test_it_goes_on_after_a_kill_of_broker_and_database_too(
    servers: stack.RunningStack, node: Devchain, tmp_path: Path, command_too: bool
) -> None:
    fresh = Settings(chain_id=CHAIN_ID, database_url=servers.database_url, rpc_urls=(node.url,), topic_prefix="resume.")
    migrate.migrate(fresh)
    with ExitStack() as cleaned_up:
        settings = cleaned_up.enter_context(own_topics(fresh, servers.bootstrap_servers))
        with engine.connect(settings, "test", autocommit=True) as look:
            it = cleaned_up.enter_context(at_work(settings, look, tmp_path))
        it.kill(command_too)
        servers.kill_broker(0)
        servers.kill_postgres()
        servers.start_postgres()
        servers.start_broker(0)
        look = cleaned_up.enter_context(engine.connect(settings, "test", autocommit=True))
        before = what_is_stored(look, node)

        it.start_again()
        goes_on(look, before, GOES_ON_WITHOUT_SERVERS_SECONDS, it.killed_at)

        assert it.wait(120) == 0, it.said()
        nothing_is_done_twice(look, node, before)


@contextmanager
def at_work(settings: Settings, look: Connection, folder: Path) -> Iterator[BatchProcess]:
    """Queue a job, and yield `batch process` when a part of it is stored."""
    jobs.create_job(look, NewJob(settings.chain_id, Ranges.of([(1, BLOCKS + 1)])))
    with batch_process(settings, folder) as running:
        wait_for(lambda: stored(look) >= KILLED_AT, 90, "blocks are stored")
        yield running


def what_is_stored(look: Connection, node: Devchain) -> Rows:
    """Return the rows that the killed have left, once what they had sent is carried out; counts fetches from now on."""
    wait_for(lambda: writers(look) == 0, 60, "the sessions of the killed persisters end")
    before = rows_written(look)
    assert 0 < len(before) < BLOCKS, "the kill came when there was nothing left to do"
    node.reset_stats()
    return before


def goes_on(look: Connection, before: Rows, seconds: float, killed_at: float) -> None:
    """Wait for the first block that is stored after the kill."""
    wait_for(lambda: stored(look) > len(before), 60, "blocks are stored again")
    took = time.monotonic() - killed_at
    assert took <= at_most(seconds), f"the first block was stored {took:.1f} s after the kill"


def nothing_is_done_twice(look: Connection, node: Devchain, before: Rows) -> None:
    after = rows_written(look)
    assert len(after) == BLOCKS
    assert {number: after[number] for number in before} == before
    for method, served in node.stats(blocks=True)["blocks"].items():
        assert not before.keys() & set(map(int, served)), f"{method} was asked again for blocks that were stored"
    assert wrong_balances(look, CHAIN_ID) == []


def stored(look: Connection) -> int:
    row = look.execute("SELECT count(*) FROM blocks").fetchone()
    assert row is not None
    return int(row[0])
