"""Processes join and leave while a job runs: nothing is lost or doubled, newcomers get work, and two are faster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.digest import digest, wrong_balances
from indexer.topics import DECODED, WORK
from tests.support.bars import at_least, at_most
from tests.support.e2e_kafka import Cluster
from tests.support.e2e_services import Services, services

pytestmark = pytest.mark.e2e

MEASURED = 10_000  # blocks by one decoder, and as many by two
STRIPES = 2 * MEASURED // 64  # of each the first eight blocks, while processes come and go
GETS_WORK_SECONDS = 10.0
FASTER_WITH_TWO = 1.7


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=2 * MEASURED) as node:
        yield node


@pytest.fixture(scope="module")
def second_node() -> Iterator[Devchain]:
    """The same chain, so that it is seen who fetches."""
    with Devchain.simulated(profile="small", blocks=2 * MEASURED) as node:
        yield node


@pytest.mark.timeout(300)
@pytest.mark.figure
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_joining_and_leaving_loses_and_doubles_nothing_and_newcomers_get_work(
    deployment: Settings, node: Devchain, second_node: Devchain, tmp_path: Path, protocol: str
) -> None:
    deployment = replace(deployment, group_protocol=protocol)
    cluster = Cluster(deployment)
    with services(deployment, node, tmp_path) as running:
        job = running.queue([(64 * n + 1, 64 * n + 9) for n in range(STRIPES)], rate=64 * 4.0)  # four stripes a second
        running.start(producer=1)
        decoder, persister = running.add("decoder", 0), running.add("persister", 0)
        running.until(lambda: running.stored() > 0, 60, "blocks are stored")

        join_and_fetch(running, second_node)
        add_a_persister(running)
        running.remove(decoder)
        goes_on(running, "without the first decoder")
        running.remove(persister)
        goes_on(running, "without the first persister")
        running.add("decoder", 2)
        running.until(lambda: cluster.balanced("decoder", WORK[1], 2), 30, "a third decoder has its share")
        running.dismiss()
        goes_on(running, "without the second decoder")
        running.add("persister", 2)
        running.until(lambda: cluster.balanced("persister", DECODED, 2), 30, "a third persister has its share")
        assert not running.is_done(job), "the job ended before all had joined and left"

        jobs.change_job(running.database, deployment.chain_id, job, {"rate": None})
        running.until(lambda: running.is_done(job), 120, "the job ends")
        status = running.job(job)
        assert (status.stored, status.dead, status.total) == (8 * STRIPES, 0, 8 * STRIPES)
        rows = digest(running.database, deployment.chain_id).rows
        per_block = {"blocks": 1, "transactions": 3, "logs": 2, "token_transfers": 2}  # of a small block
        assert {table: rows[table] for table in per_block} == {t: n * 8 * STRIPES for t, n in per_block.items()}
        assert wrong_balances(running.database, deployment.chain_id) == []
        running.until(cluster.work_is_read, 30, "every work item is read")
        assert cluster.heights(DECODED) == cluster.work_items()


def join_and_fetch(running: Services, its_node: Devchain) -> None:
    """Start a second decoder, which has ten seconds to be asked for a block."""
    its_node.reset_stats()
    started = time.monotonic()
    running.alone("decoder", 1, RPC_URLS=its_node.url)
    running.until(lambda: its_node.stats()["blocks_served"], 60, "the second decoder fetches blocks")
    seconds = time.monotonic() - started
    assert seconds <= at_most(GETS_WORK_SECONDS), f"a new decoder got work after {seconds:.1f} s"


def add_a_persister(running: Services) -> None:
    newcomer = running.add("persister", 1)
    running.until(lambda: running.partitions_of(newcomer), 60, "the second persister owns partitions")


def goes_on(running: Services, what: str) -> None:
    """Wait until every partition has moved on, so that whoever owns it now has done something."""
    before = running.offsets()

    def all_moved() -> bool:
        now = running.offsets()
        return all(now[partition] > offset for partition, offset in before.items())

    running.until(all_moved, 60, f"every partition goes on {what}")


@pytest.mark.bar
@pytest.mark.timeout(400)
def test_two_decoders_are_almost_twice_as_fast_where_the_node_is_slow(
    deployment: Settings, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    one_request = {"RPC_MAX_CONCURRENCY": "1", "RPC_BATCH_SIZE": "10"}
    cluster = Cluster(deployment)
    with (
        Devchain.simulated(profile="small", blocks=2 * MEASURED, latency_ms=20) as node,
        services(deployment, node, tmp_path, **one_request) as running,
    ):
        running.start(producer=1, decoder=1, persister=1)
        running.until(lambda: cluster.balanced("decoder", WORK[1], 1), 60, "the decoder has joined")
        running.until(lambda: cluster.balanced("persister", DECODED, 1), 60, "the persister has joined")
        with_one = seconds_for(running, 1)

        running.add("decoder", 1)
        running.until(lambda: cluster.balanced("decoder", WORK[1], 2), 60, "the second decoder has joined")
        with_two = seconds_for(running, 1 + MEASURED)

        figures = f"one decoder {with_one:.1f} s, two {with_two:.1f} s: {with_one / with_two:.2f} times as fast"
        record_testsuite_property("scale_out", figures)
        assert with_one / with_two >= at_least(FASTER_WITH_TWO), figures


def seconds_for(running: Services, first: int) -> float:
    """Return how long a job takes by its own times; looked at rarely, since looking takes processor time too."""
    job = running.queue([(first, first + MEASURED)])

    def ended() -> bool:
        time.sleep(0.25)
        return running.is_done(job)

    running.until(ended, 180, "the job ends")
    status = running.job(job)
    assert status.finished_at
    return (status.finished_at - status.created_at).total_seconds()
