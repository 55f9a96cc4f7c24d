"""The pool against devchain and its faults: all blocks arrive, or the right error does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from devchain.client import Devchain
from indexer.errors import NotYetError, TransientError
from indexer.rpc.attempt import FetchResult
from indexer.rpc.facade import BlockFetcher, RpcClient
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.settings import RpcSettings

HEAD = 200
QUICK = RpcSettings(
    batch_size=20,
    budget_seconds=4.0,
    backoff_seconds=0.02,
    idle_timeout_seconds=1.0,
    breaker_open_seconds=0.1,
    breaker_open_max_seconds=0.5,
)


@pytest.fixture(scope="module")
def shared_node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=HEAD, twin_lag=5) as devchain:
        yield devchain


@pytest.fixture
def node(shared_node: Devchain) -> Devchain:
    assert shared_node.twin is not None
    shared_node.faults(reset=True)
    shared_node.twin.faults(reset=True, lag=5)
    shared_node.reset_stats()
    return shared_node


def fetch_all(client: RpcClient, first: int = 1, last: int = HEAD) -> list[FetchResult]:
    return client.fetch_blocks([Wanted(number) for number in range(first, last + 1)])


def assert_whole(results: list[FetchResult]) -> None:
    for result in results:
        assert isinstance(result, Fetched), result
        hashes = [receipt["transactionHash"] for receipt in result.raw_receipts]
        assert hashes == [transaction["hash"] for transaction in result.raw_block["transactions"]]
        assert {receipt["blockHash"] for receipt in result.raw_receipts} <= {result.raw_block["hash"]}


def test_every_block_arrives_whole_and_is_asked_for_once(node: Devchain) -> None:
    with RpcClient([node.url], QUICK) as client:
        client.check_chain(43114)
        results = fetch_all(client)

    assert_whole(results)
    stats = node.stats()
    assert stats["calls"]["eth_getBlockByNumber"] == HEAD
    assert stats["calls"]["eth_getBlockReceipts"] <= HEAD + 1
    assert stats["requests"] <= 2 * HEAD / 20 + 4  # one of them asks what is final


@pytest.mark.parametrize(
    "faults",
    [
        {"p_429": 0.3, "retry_after": 0},
        {"next_429": 5, "retry_after": 1},
        {"p_5xx": 0.3},
        {"p_hangup": 0.3},
        {"p_truncated": 0.3},
        {"next_stall": 2},
        {"p_error": 0.05},
        {"max_batch": 7},
        {"receipts_method": False},
        {"receipts_method": False, "max_batch": 7},
        {"latency_ms": 20},
        {"null_receipts": {"30": 1, "31": 2}},
    ],
    ids=lambda faults: ",".join(f"{key}={value}" for key, value in faults.items()),
)
def test_faults_are_ridden_out(node: Devchain, faults: dict[str, Any]) -> None:
    node.faults(seed=7, **faults)

    with RpcClient([node.url], QUICK) as client:
        results = fetch_all(client)

    assert_whole(results)


def test_the_node_s_own_rate_limit_is_respected(node: Devchain) -> None:
    node.faults(max_rps=30, retry_after=None)

    with RpcClient([node.url], replace(QUICK, batch_size=5, budget_seconds=20)) as client:
        results = fetch_all(client, last=100)

    assert_whole(results)


@pytest.mark.parametrize("above_head", ["null", "unfinalized", "unaccepted"])
def test_above_the_head_is_not_yet(node: Devchain, above_head: str) -> None:
    node.faults(above_head=above_head)

    with RpcClient([node.url], QUICK) as client:
        results = fetch_all(client, first=HEAD, last=HEAD + 3)

    assert isinstance(results[0], Fetched)
    assert [type(result) for result in results[1:]] == [NotYetError] * 3


def test_a_lagging_twin_does_not_hold_back_what_the_other_has(node: Devchain) -> None:
    assert node.twin is not None
    with RpcClient([node.twin.url, node.url], QUICK) as client:
        for _ in range(5):
            assert_whole(fetch_all(client, first=HEAD - 10))


def test_a_block_that_one_node_lost_comes_from_the_other(node: Devchain) -> None:
    assert node.twin is not None
    node.twin.faults(null_blocks={"50": -1})

    with RpcClient([node.twin.url, node.url], QUICK) as client:
        for _ in range(5):
            assert_whole(fetch_all(client, first=45, last=55))


def test_a_block_that_nobody_has_fails_alone(node: Devchain) -> None:
    node.faults(null_blocks={"50": -1})

    with RpcClient([node.url], QUICK) as client:
        results = fetch_all(client, first=45, last=55)

    assert isinstance(results[5], TransientError)
    assert_whole(results[:5] + results[6:])


def test_the_fetcher_goes_on_through_everything_at_once(node: Devchain) -> None:
    node.faults(seed=3, p_429=0.1, retry_after=0, p_5xx=0.1, p_hangup=0.1, p_truncated=0.1, max_batch=9)
    found: dict[object, list[FetchResult]] = {}

    with BlockFetcher([node.url], replace(QUICK, budget_seconds=20), max_blocks=60) as fetcher:
        todo = [range(first, first + 10) for first in range(1, HEAD, 10)]
        deadline = time.monotonic() + 60
        while len(found) < HEAD // 10 and time.monotonic() < deadline:
            while todo and fetcher.submit(todo[0].start, [Wanted(number) for number in todo[0]]):
                todo.pop(0)
            found.update(fetcher.completed(0.1))

    assert_whole([result for results in found.values() for result in results])
    assert sum(len(results) for results in found.values()) == HEAD


def test_receipts_one_by_one_still_travel_in_batches(node: Devchain) -> None:
    node.faults(receipts_method=False)

    with RpcClient([node.url], QUICK) as client:
        fetch_all(client)

    stats = node.stats()
    assert stats["calls"]["eth_getTransactionReceipt"] > HEAD
    assert stats["requests"] < 40
