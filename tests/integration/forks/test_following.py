"""The head of a forking chain, followed by real services on a real broker and database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.storage import jobs
from indexer.storage.jobs import JobStatus
from tests.support.command_line import Command
from tests.support.deployment import own_database, own_topics
from tests.support.e2e_services import is_frozen, services, thaw
from tests.support.following import Followed, digest_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
Follow = Callable[..., Followed]


def all_jobs(run: Followed) -> list[JobStatus]:
    return jobs.all_jobs(run.services.database, run.settings.chain_id)


@pytest.fixture
def fresh(postgres: str, kafka: str, migrated_template: str, tmp_path: Path) -> Callable[[Followed], object]:
    """Index the present chain of a node anew, all of it final, and return the digest."""

    def index(followed: Followed) -> object:
        head = int(followed.node.call("eth_blockNumber"), 16)
        followed.node.faults(finality=0)
        with own_database(postgres, migrated_template) as migrated, own_topics(migrated, kafka) as deployment:
            own = replace(deployment, chain_id=followed.settings.chain_id)
            with services(own, followed.node, tmp_path / "fresh") as running:
                job = running.queue([(0, head + 1)])
                running.start(producer=1, decoder=1, persister=1)
                running.until(lambda: running.is_done(job), 60, "the fresh index is done")
                return digest_of(running.settings)

    return index


def test_forks_end_with_the_rows_and_balances_of_a_fresh_index(
    followed: Follow, fresh: Callable[[Followed], object]
) -> None:
    run = followed(head=60, finality=16)
    run.start()
    run.until_stored()
    node = run.node

    node.reorg(3)
    run.until_stored()
    node.grow(4)
    node.reorg(6, 2)  # a shorter branch wins
    run.until_stored()
    node.reorg(2, 4)  # two in a row
    node.reorg(5, 7)
    run.until_stored()
    run.services.kill()
    node.reorg(8, 9)  # while everything is down
    node.grow(40)
    run.run()
    run.until_stored()

    assert run.state().forks >= 4
    assert run.digest() == fresh(run)


def test_a_slow_block_of_the_losing_branch_never_comes_back(
    followed: Follow, fresh: Callable[[Followed], object]
) -> None:
    run = followed(head=60, finality=16)
    run.start()
    run.until_stored()
    persister = next(child for child in run.services.children if child.service == "persister")
    run.services.order("persister.before-transaction", "stop")
    run.node.grow(3)  # the persister freezes with them in its hands
    run.services.until(lambda: is_frozen(persister), 30, "the persister froze")

    run.node.reorg(5, 6)
    generation = run.services.until(lambda: run.state().generation, 30, "the fork is seen")
    thaw(persister)
    run.until_stored()

    assert generation > 0
    assert run.digest() == fresh(run)


def test_a_lagging_twin_and_one_that_missed_a_fork_are_no_forks(followed: Follow) -> None:
    run = followed(head=60, finality=16)
    assert run.node.twin is not None
    run.node.twin.faults(finality=16, lag=4)
    run.start(urls=(run.node.twin.url, run.node.url))
    run.until_stored()
    for _ in range(5):
        run.node.grow()
        run.until_stored()
    assert run.state().forks == 0

    run.node.twin.faults(finality=16, branch=0)
    run.node.reorg(3)
    run.until_stored()

    assert run.state().forks == 1


def test_what_is_far_below_the_head_is_stored_by_a_job_beside_it(followed: Follow) -> None:
    run = followed(head=295, finality=10)

    run.start()
    run.until_stored()
    run.node.grow(2)
    run.until_stored()

    kinds = {job.reason: (job.first_block, job.last_block) for job in all_jobs(run)}
    assert kinds == {"backfill": (0, 284), "head": (285, 297)}


def test_a_fork_beyond_the_window_pauses_and_a_person_lets_it_go_on(
    followed: Follow, fresh: Callable[[Followed], object], command: Command
) -> None:
    run = followed(head=60, finality=4)
    run.start()
    run.until_stored()
    run.services.until(lambda: run.state().finalized_to == 56, 30, "what is final is recorded")

    run.node.reorg(10, 12)
    paused = run.services.until(lambda: run.state().paused, 30, "the chain is paused")
    assert "another block 56" in paused
    assert run.state().forks == 0
    assert run.services.restarts("producer") == 0

    refused = command(run.settings, "follow", "--go-on", "--rollback-to", 51, "--yes")
    assert (refused.code, "both agree up to block 50" in refused.err) == (2, True)
    assert command(run.settings, "follow", "--go-on", "--rollback-to", 50, "--yes", "--no-wait").code == 0
    run.until_stored()
    once = command(run.settings, "follow", "--once", "--json")
    assert (once.code, once.json()["canonical_to"]) == (0, 62)
    assert run.digest() == fresh(run)


def test_a_header_that_was_altered_costs_no_block_for_good(
    followed: Follow, fresh: Callable[[Followed], object]
) -> None:
    run = followed(head=60, finality=10)
    run.start()
    run.until_stored()

    run.services.database.execute("UPDATE headers SET hash = sha256(hash) WHERE number = 59")
    run.services.until(lambda: run.state().forks > 0, 30, "the altered header is seen")
    run.until_stored()
    run.node.grow(2)
    run.until_stored()

    assert run.digest() == fresh(run)
