"""How long a new block takes from the node to a committed row: alone, and while a backfill runs at full speed."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.settings import Settings
from indexer.storage import following
from tests.support.bars import at_most
from tests.support.e2e_services import Services, services
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ALONE_SECONDS = 0.5
WITH_BACKFILL_SECONDS = 2.0
HEAD, BLOCKS = 4_000, 4_300


@pytest.fixture
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="bench", blocks=BLOCKS, head=HEAD) as running:
        yield running


@pytest.fixture
def running(deployment: Settings, node: Devchain, tmp_path: Path) -> Iterator[Services]:
    """Services that are at the head."""
    with services(replace(deployment, rpc_urls=(node.url,)), node, tmp_path) as started:
        following.start(started.database, deployment.chain_id, HEAD, None)
        started.start(producer=1, decoder=2, persister=1)
        started.until(lambda: started.stored() == 1, 60, "the head is stored")
        yield started


def latencies(running: Services, node: Devchain, most: int, *, during: int | None = None) -> list[float]:
    """Return the seconds that new blocks took; `during` ends it with a job."""
    found: list[float] = []
    chance = random.Random(7)  # the same pauses every time
    while len(found) < most and (during is None or not running.is_done(during)):
        began = time.monotonic()
        number = node.grow()
        wait_for(lambda number=number: stored(running, number), 30, f"block {number} is stored")  # type: ignore[misc]
        found.append(time.monotonic() - began)
        wait_for(lambda until=time.monotonic() + chance.uniform(0.2, 0.6): time.monotonic() > until, 1)  # type: ignore[misc]
    return sorted(found)


def stored(running: Services, number: int) -> bool:
    return running.database.execute("SELECT FROM blocks WHERE number = %s", (number,)).fetchone() is not None


def percentile_95(sorted_seconds: list[float]) -> float:
    return sorted_seconds[int(0.95 * (len(sorted_seconds) - 1))]


@pytest.mark.bar
def test_a_new_block_is_stored_within_half_a_second(running: Services, node: Devchain) -> None:
    latencies(running, node, 5)  # whatever is done the first time

    found = latencies(running, node, 40)

    assert percentile_95(found) < at_most(ALONE_SECONDS), found


@pytest.mark.bar
def test_a_backfill_does_not_delay_the_head(running: Services, node: Devchain) -> None:
    job = running.queue([(0, HEAD)])
    running.until(lambda: running.job(job).stored > 200, 60, "the backfill is under way")

    found = latencies(running, node, 40, during=job)

    assert len(found) >= 10
    assert percentile_95(found) < at_most(WITH_BACKFILL_SECONDS), found
