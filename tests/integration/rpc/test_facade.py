"""The synchronous front: submit, go on with other work, collect."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Hashable

import pytest

from indexer.errors import TransientError
from indexer.rpc.attempt import FetchResult
from indexer.rpc.facade import BlockFetcher, InFlight
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.pool import RpcPool
from indexer.rpc.settings import RpcSettings
from tests.support.fake_node import FakeNode


def wanted(*numbers: int) -> list[Wanted]:
    return [Wanted(number) for number in numbers]


def collect(fetcher: BlockFetcher, requests: int) -> dict[Hashable, list[FetchResult]]:
    found: dict[Hashable, list[FetchResult]] = {}
    deadline = time.monotonic() + 10
    while len(found) < requests and time.monotonic() < deadline:
        found.update(fetcher.completed(0.1))
    return found


def test_results_come_back_under_their_keys() -> None:
    with FakeNode() as node, BlockFetcher([node.url]) as fetcher:
        assert fetcher.submit("a", wanted(1, 2))
        assert fetcher.submit(("topic", 3), wanted(5))
        found = collect(fetcher, 2)

    assert [result.number for result in found["a"] if isinstance(result, Fetched)] == [1, 2]
    assert [result.number for result in found["topic", 3] if isinstance(result, Fetched)] == [5]


def test_what_is_in_flight_is_counted_until_it_is_handed_out() -> None:
    with FakeNode(latency=0.05) as node, BlockFetcher([node.url]) as fetcher:
        fetcher.submit("a", wanted(1, 2, 3))
        during = fetcher.in_flight
        collect(fetcher, 1)

        assert (during.requests, during.blocks) == (1, 3)
        assert fetcher.in_flight == InFlight()


def test_the_number_of_blocks_is_bounded() -> None:
    with FakeNode(latency=0.05) as node, BlockFetcher([node.url], max_blocks=10) as fetcher:
        taken = [fetcher.submit(key, wanted(*range(key * 5, key * 5 + 5))) for key in range(4)]
        collect(fetcher, 2)

        assert taken == [True, True, False, False]
        assert fetcher.room() == 10


def test_arrived_bytes_are_bounded_but_one_large_block_passes() -> None:
    with (
        FakeNode(padding=dict.fromkeys(range(100), 20_000)) as node,
        BlockFetcher([node.url], max_bytes=60_000) as fetcher,
    ):
        fetcher.submit(0, wanted(0))
        collect(fetcher, 1)
        taken = sum(fetcher.submit(key, wanted(key)) for key in range(1, 20))
        collect(fetcher, taken)
        fetcher._max_bytes = 1

        assert 1 <= taken <= 3
        assert fetcher.room() == 1


def test_nothing_there_is_an_empty_answer() -> None:
    with FakeNode() as node, BlockFetcher([node.url]) as fetcher:
        assert fetcher.completed(0.01) == []
        assert fetcher.completed(0) == []


def test_closing_stops_what_is_under_way() -> None:
    with FakeNode(hanging={1}) as node:
        fetcher = BlockFetcher([node.url])
        fetcher.submit("a", wanted(1))
        threads = {thread.name for thread in threading.enumerate()}
        fetcher.close()
        fetcher.close()

        assert "rpc" in threads
        assert "rpc" not in {thread.name for thread in threading.enumerate()}
        assert not fetcher.submit("b", wanted(2))


def test_the_interpreter_is_tuned_meanwhile_and_put_back() -> None:
    before = sys.getswitchinterval(), gc.get_threshold()
    with FakeNode() as node, BlockFetcher([node.url]):
        during = sys.getswitchinterval(), gc.get_threshold()

    assert during == (pytest.approx(0.001), (50_000, *before[1][1:]))
    assert (sys.getswitchinterval(), gc.get_threshold()) == before


def test_a_busy_main_thread_does_not_starve_the_fetching() -> None:
    with FakeNode() as node, BlockFetcher([node.url]) as fetcher:
        for first in range(0, 200, 20):
            fetcher.submit(first, wanted(*range(first, first + 20)))
        found: dict[Hashable, list[FetchResult]] = {}
        deadline = time.monotonic() + 20
        while len(found) < 10 and time.monotonic() < deadline:
            sum(range(50_000))  # keeps the interpreter's lock about as long as verifying a block
            found.update(fetcher.completed(0))

    assert sum(isinstance(result, Fetched) for results in found.values() for result in results) == 200


def test_an_error_nobody_thought_of_is_still_a_result() -> None:
    class BrokenPool(RpcPool):
        async def fetch_blocks(self, *_: object, **__: object) -> list[FetchResult]:
            raise ZeroDivisionError

    settings = RpcSettings()
    with BlockFetcher([], pool=lambda: BrokenPool(["http://x"], settings=settings)) as fetcher:
        fetcher.submit("a", wanted(1, 2))
        found = collect(fetcher, 1)

    assert [type(result) for result in found["a"]] == [TransientError, TransientError]


def test_a_pool_without_urls_is_refused_and_leaves_no_thread() -> None:
    with pytest.raises(ValueError, match="at least one URL"):
        BlockFetcher([])

    assert "rpc" not in {thread.name for thread in threading.enumerate()}
