"""The head of a forking chain, followed by real services on a real broker and database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.deployment import own_database, own_topics
from tests.support.e2e_services import services
from tests.support.following import Followed, digest_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
Follow = Callable[..., Followed]


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
