"""What the pool makes of each fault of a node: every wanted block gets its own result."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiohttp import web

from indexer.errors import FatalError, IndexerError, NotYetError, OutageError, PoisonError, TransientError
from indexer.rpc.answers import Call
from indexer.rpc.attempt import FetchResult
from indexer.rpc.facade import BlockFetcher, RpcClient
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.settings import RpcSettings
from tests.support.fake_node import FakeNode, block_hash

QUICK = RpcSettings(
    budget_seconds=2.0,
    outage_seconds=0.5,
    backoff_seconds=0.01,
    backoff_max_seconds=0.1,
    idle_timeout_seconds=0.3,
    connect_timeout_seconds=0.5,
    breaker_open_seconds=0.1,
    breaker_open_max_seconds=0.2,
)


def fetch(
    nodes: Sequence[FakeNode], numbers: Sequence[int], settings: RpcSettings = QUICK, **options: Any
) -> list[FetchResult]:
    with RpcClient([node.url for node in nodes], settings) as client:
        return client.fetch_blocks([Wanted(number) for number in numbers], **options)


def kinds(results: Sequence[FetchResult]) -> dict[str, int]:
    names = [type(result).__name__ for result in results]
    return {name: names.count(name) for name in names}


def hashes(results: Sequence[FetchResult]) -> list[str]:
    return [result.raw_block["hash"] for result in results if isinstance(result, Fetched)]


def error(result: FetchResult) -> IndexerError:
    assert isinstance(result, IndexerError)
    return result


class TestAHealthyNode:
    def test_blocks_and_receipts_belong_together_and_come_in_two_requests(self) -> None:
        with FakeNode() as node:
            results = fetch([node], range(10, 20))

        assert hashes(results) == [block_hash(number) for number in range(10, 20)]
        for result in results:
            assert isinstance(result, Fetched)
            assert len(result.raw_receipts) == result.number % 4
            assert all(r["blockHash"] == result.raw_block["hash"] for r in result.raw_receipts)
            assert result.endpoint == node.name
            assert result.size > 0
        batches = [methods for methods in node.requests if len(methods) > 2]  # the others ask what is final
        assert [(methods[0], len(methods)) for methods in batches] == [
            ("eth_getBlockByNumber", 10),
            ("eth_getBlockReceipts", 8),
        ]

    def test_blocks_without_transactions_cost_no_request_for_receipts(self) -> None:
        with FakeNode() as node:
            results = fetch([node], [0, 4, 8])

        assert kinds(results) == {"Fetched": 3}
        assert node.count("eth_getBlockReceipts") == 0

    def test_never_more_blocks_in_a_request_than_set(self) -> None:
        with FakeNode() as node:
            results = fetch([node], range(1, 48), replace(QUICK, batch_size=10))

        assert kinds(results) == {"Fetched": 47}
        assert max(len(methods) for methods in node.requests) == 10

    def test_one_request_at_a_time_means_one(self) -> None:
        with FakeNode(latency=0.01) as node:
            results = fetch([node], range(1, 60), replace(QUICK, batch_size=5, max_concurrency=1))

        assert kinds(results) == {"Fetched": 59}
        assert node.most_at_once == 1

    def test_a_node_on_this_machine_does_not_compress(self) -> None:
        with FakeNode() as node:
            fetch([node], [1])

        assert set(node.encodings) == {"identity"}

    def test_an_expected_hash_is_compared(self) -> None:
        with FakeNode() as node, RpcClient([node.url], QUICK) as client:
            good = bytes.fromhex(block_hash(950)[2:])
            results = client.fetch_blocks([Wanted(950, good), Wanted(951, b"\1" * 32), Wanted(5, b"\1" * 32)])

        assert isinstance(results[0], Fetched)
        assert isinstance(results[1], NotYetError)  # above the finalized height: waiting
        assert isinstance(results[2], TransientError)
        assert not isinstance(results[2], NotYetError)
        assert results[2].code == "RPC_OTHER_HASH"


class TestReceipts:
    @pytest.mark.parametrize("form", ["hash", "object", "transaction"])
    def test_each_form_is_found_and_probed_once(self, form: str) -> None:
        with FakeNode(receipts_by=form) as node, RpcClient([node.url], QUICK) as client:
            for start in (1, 20, 40):
                results = client.fetch_blocks([Wanted(number) for number in range(start, start + 10)])
                assert kinds(results) == {"Fetched": 10}
                assert [len(r.raw_receipts) for r in results if isinstance(r, Fetched)] == [
                    number % 4 for number in range(start, start + 10)
                ]

        probes = [methods for methods in node.requests if methods == ["eth_getBlockReceipts"]]
        assert len(probes) == {"hash": 1, "object": 2, "transaction": 2}[form]
        assert node.count("eth_getTransactionReceipt") == (3 if form == "transaction" else 0)

    def test_a_method_that_vanishes_is_replaced_while_running(self) -> None:
        with FakeNode() as node, RpcClient([node.url], QUICK) as client:
            client.fetch_blocks([Wanted(1)])
            node.receipts_by = "transaction"
            results = client.fetch_blocks([Wanted(number) for number in range(10)])

        assert kinds(results) == {"Fetched": 10}

    def test_neither_method_nor_batches_is_no_way_to_fetch_receipts(self) -> None:
        with FakeNode(receipts_by="transaction", batches=False) as node:
            results = fetch([node], [2, 3, 4], replace(QUICK, budget_seconds=0.3))

        assert [type(r).__name__ for r in results] == ["TransientError", "TransientError", "Fetched"]
        assert error(results[0]).code == "RPC_NO_BATCHES"
        assert node.count("eth_getTransactionReceipt") <= 5


class TestLimits:
    def test_a_provider_s_largest_batch_is_learned(self) -> None:
        with FakeNode(max_batch=7) as node, RpcClient([node.url], QUICK) as client:
            first = client.fetch_blocks([Wanted(number) for number in range(50)])
            refused = len([m for m in node.requests if len(m) > 7])
            second = client.fetch_blocks([Wanted(number) for number in range(50, 100)])
            again = len([m for m in node.requests if len(m) > 7]) - refused

        assert kinds(first + second) == {"Fetched": 100}
        assert again <= 2

    def test_a_node_without_batches_is_asked_one_by_one(self) -> None:
        with FakeNode(batches=False) as node:
            results = fetch([node], range(12))

        assert kinds(results) == {"Fetched": 12}

    def test_a_batch_that_is_too_large_is_split(self) -> None:
        small = replace(QUICK, max_response_bytes=50_000)
        with FakeNode(padding={5: 20_000, 6: 20_000, 7: 20_000}) as node:
            results = fetch([node], range(20), small)

        assert kinds(results) == {"Fetched": 20}

    def test_a_single_large_block_is_let_through_up_to_its_own_limit(self) -> None:
        small = replace(QUICK, max_response_bytes=50_000, max_block_bytes=1_000_000)
        with FakeNode(padding={5: 100_000, 6: 2_000_000}) as node:
            results = fetch([node], range(4, 9), small)

        assert kinds(results) == {"Fetched": 4, "PoisonError": 1}
        assert isinstance(results[2], PoisonError)
        assert results[2].code == "RPC_BLOCK_TOO_LARGE"

    def test_batches_shrink_when_blocks_are_large(self) -> None:
        padding = dict.fromkeys(range(200), 10000)
        with (
            FakeNode(padding=padding) as node,
            RpcClient([node.url], replace(QUICK, target_batch_bytes=200_000)) as client,
        ):
            client.fetch_blocks([Wanted(number) for number in range(50)])
            suggested = client.suggested_batch()

        assert 5 <= suggested <= 10


class TestPaceAndPauses:
    def test_a_429_with_retry_after_is_waited_for_and_not_counted(self) -> None:
        slow_down = web.Response(status=429, headers={"Retry-After": "1"})
        with FakeNode(scripted=[slow_down]) as node:
            began = time.monotonic()
            results = fetch([node], range(5))

        assert kinds(results) == {"Fetched": 5}
        assert time.monotonic() - began >= 1.0

    def test_a_429_sends_the_work_to_another_node_meanwhile(self) -> None:
        slow_down = [web.Response(status=429, headers={"Retry-After": "30"}) for _ in range(4)]
        with FakeNode(scripted=slow_down) as busy, FakeNode() as idle:
            began = time.monotonic()
            results = fetch([busy, idle], range(20), replace(QUICK, batch_size=2))

        assert kinds(results) == {"Fetched": 20}
        assert time.monotonic() - began < 2.0

    def test_a_pause_longer_than_the_budget_is_an_outage_not_a_failed_attempt(self) -> None:
        slow_down = [web.Response(status=429, headers={"Retry-After": "60"}) for _ in range(9)]
        with FakeNode(scripted=slow_down) as node:
            results = fetch([node], [1, 2])

        assert kinds(results) == {"OutageError": 2}
        assert error(results[0]).code == "RPC_RATE_LIMITED"

    def test_calls_refused_for_their_rate_inside_a_batch_are_asked_again(self) -> None:
        refused: list[int] = []

        def refuse_once(body: bytes) -> bytes:
            if refused or b"transactions" not in body:
                return body
            refused.append(1)
            items = orjson.loads(body)
            item = {"id": items[0]["id"], "error": {"code": 429, "message": "rate limit"}}
            return orjson.dumps([item, *items[1:]])

        with FakeNode(mutate=refuse_once) as node:
            results = fetch([node], range(8))

        assert refused
        assert kinds(results) == {"Fetched": 8}

    def test_the_rate_is_kept(self) -> None:
        with FakeNode() as node:
            began = time.monotonic()
            results = fetch([node], [4 * n for n in range(60)], replace(QUICK, max_rps=40.0, batch_size=10))

        assert kinds(results) == {"Fetched": 60}
        assert time.monotonic() - began > (60 - 40) / 40

    def test_the_head_does_not_wait_behind_bulk_calls_that_wait_for_their_rate(self) -> None:
        settings = replace(QUICK, max_rps=20.0, head_reserve=0.1, max_concurrency=1, batch_size=50)
        with FakeNode() as node, BlockFetcher([node.url], settings, max_blocks=1000) as fetcher:
            for first in range(0, 400, 50):
                fetcher.submit(first, [Wanted(number) for number in range(first, first + 50)])
            deadline = time.monotonic() + 5
            while not fetcher.snapshot().endpoints[0].methods and time.monotonic() < deadline:
                fetcher.completed(0.01)
            began = time.monotonic()
            head = fetcher.call("eth_blockNumber", urgent=True)

        assert head == hex(1000)
        assert time.monotonic() - began < 1.0

    def test_a_changed_share_acts_on_those_who_wait(self) -> None:
        with FakeNode() as node, RpcClient([node.url], replace(QUICK, max_rps=1000.0)) as client:
            client.set_share(0.01)
            client.fetch_blocks([Wanted(4 * number) for number in range(50)])
            timer = threading.Timer(0.2, client.set_share, [1.0])
            timer.start()
            began = time.monotonic()
            results = client.fetch_blocks([Wanted(4 * number) for number in range(50, 100)])
            timer.join()

        assert kinds(results) == {"Fetched": 50}
        assert time.monotonic() - began < 2.0


class TestNotYet:
    @pytest.mark.parametrize("unfinalized_error", [False, True])
    def test_beyond_the_head_is_not_yet_and_at_once(self, unfinalized_error: bool) -> None:
        with FakeNode(head=100, finalized=100, unfinalized_error=unfinalized_error) as node:
            began = time.monotonic()
            results = fetch([node], range(95, 105))

        assert kinds(results) == {"Fetched": 6, "NotYetError": 4}
        assert time.monotonic() - began < 1.0

    def test_a_lagging_node_s_null_is_asked_for_elsewhere_in_one_batch(self) -> None:
        with (
            FakeNode(head=100, finalized=100) as behind,
            FakeNode(head=200, finalized=200) as ahead,
            RpcClient([behind.url, ahead.url], QUICK) as client,
        ):
            results = client.fetch_blocks([Wanted(number) for number in range(96, 206)])

        assert kinds(results) == {"Fetched": 105, "NotYetError": 5}

    def test_rule_5_a_block_without_an_expected_hash_counts_only_where_it_is_final(self) -> None:
        with FakeNode(head=100, finalized=90) as node, RpcClient([node.url], QUICK) as client:
            unknown = client.fetch_blocks([Wanted(number) for number in range(85, 97)])
            known = client.fetch_blocks([Wanted(n, bytes.fromhex(block_hash(n)[2:])) for n in range(85, 97)])

        assert kinds(unknown) == {"Fetched": 6, "NotYetError": 6}
        assert kinds(known) == {"Fetched": 12}

    def test_rule_5_the_endpoint_where_more_is_final_is_asked(self) -> None:
        with (
            FakeNode(head=100, finalized=60) as unsure,
            FakeNode(head=100, finalized=90, latency=0.05) as sure,  # slower, and so not the first choice
            RpcClient([unsure.url, sure.url], QUICK) as client,
        ):
            client.finalized()
            results = client.fetch_blocks([Wanted(number) for number in range(61, 91)])

        assert kinds(results) == {"Fetched": 30}
        assert (unsure.count("eth_getBlockReceipts"), sure.count("eth_getBlockReceipts") > 0) == (0, True)

    def test_confirmations_say_what_is_final_where_no_tag_does(self) -> None:
        with FakeNode(head=100, finalized=0) as node, RpcClient([node.url], replace(QUICK, confirmations=4)) as client:
            results = client.fetch_blocks([Wanted(number) for number in range(95, 99)])

        assert kinds(results) == {"Fetched": 2, "NotYetError": 2}

    def test_a_null_below_the_finalized_height_is_a_failure(self) -> None:
        with FakeNode(missing={7}) as node:
            results = fetch([node], range(5, 10))

        assert kinds(results) == {"Fetched": 4, "TransientError": 1}
        assert error(results[2]).code == "RPC_BLOCK_MISSING"

    def test_where_accepted_is_final_every_null_up_to_the_head_is_a_failure(self) -> None:
        with FakeNode(chain_id=43114, missing={998}) as node:
            results = fetch([node], [998, 1001])

        assert [type(r) for r in results] == [TransientError, NotYetError]


class TestBrokenAnswers:
    @pytest.mark.parametrize("fault", ["broken", "hanging"])
    def test_one_bad_block_never_fails_its_neighbours(self, fault: str) -> None:
        with FakeNode() as node:
            getattr(node, fault).add(7)
            results = fetch([node], range(10))

        assert kinds(results) == {"Fetched": 9, "TransientError": 1}
        assert isinstance(results[7], TransientError)

    def test_a_bad_block_alone_is_told_from_an_outage(self) -> None:
        with FakeNode(broken={7}) as node:
            results = fetch([node], [7], replace(QUICK, budget_seconds=0.3, breaker_failures=1000))

        assert kinds(results) == {"TransientError": 1}
        assert error(results[0]).code == "RPC_HTTP_500"

    @pytest.mark.parametrize(
        "damage",
        [lambda body: body[: len(body) // 2], lambda body: b"", lambda body: b"<html>busy</html>"],
        ids=["truncated", "empty", "html"],
    )
    def test_a_damaged_answer_is_asked_for_again(self, damage: Any) -> None:
        damaged: list[int] = []

        def once(body: bytes) -> bytes:
            if len(damaged) < 2 and b"transactions" in body:
                damaged.append(1)
                return bytes(damage(body))
            return body

        with FakeNode(mutate=once) as node:
            results = fetch([node], range(10))

        assert damaged
        assert kinds(results) == {"Fetched": 10}

    def test_another_node_takes_over_at_once(self) -> None:
        with FakeNode(down=True) as dead, FakeNode() as alive:
            began = time.monotonic()
            results = fetch([dead, alive], range(100), replace(QUICK, batch_size=10))

        assert kinds(results) == {"Fetched": 100}
        assert {r.endpoint for r in results if isinstance(r, Fetched)} == {alive.name}
        assert time.monotonic() - began < 2.0

    def test_a_short_outage_is_ridden_out_in_place(self) -> None:
        with FakeNode(down=True) as node:
            timer = threading.Timer(0.25, setattr, [node, "down", False])
            timer.start()
            results = fetch([node], range(30), replace(QUICK, batch_size=10, outage_seconds=2.0))
            timer.join()

        assert kinds(results) == {"Fetched": 30}


class TestOutage:
    def test_nobody_there_is_an_outage_and_said_soon(self) -> None:
        with FakeNode() as node:
            gone = node.url
        began = time.monotonic()
        with RpcClient([gone], QUICK) as client:
            results = client.fetch_blocks([Wanted(number) for number in range(20)])

        assert kinds(results) == {"OutageError": 20}
        assert "secret" not in str(results[0])
        assert time.monotonic() - began < 2.0

    def test_it_ends_when_the_node_is_back(self) -> None:
        with FakeNode(down=True) as node, RpcClient([node.url], QUICK) as client:
            before = client.fetch_blocks([Wanted(1)])
            node.down = False
            after = client.fetch_blocks([Wanted(1)])

        assert kinds(before) == {"OutageError": 1}
        assert kinds(after) == {"Fetched": 1}

    def test_a_refused_key_says_what_to_look_at(self) -> None:
        forbidden = [web.Response(status=401) for _ in range(50)]
        with (
            FakeNode(scripted=forbidden) as node,
            RpcClient([node.url], QUICK) as client,
            pytest.raises(OutageError, match="is the URL right, and its key valid"),
        ):
            client.check_chain(1337)


class TestExclusion:
    def test_a_mismatch_can_be_asked_for_elsewhere(self) -> None:
        with FakeNode() as first, FakeNode() as second:
            results = fetch([first, second], range(10), exclude={first.name})

        assert {r.endpoint for r in results if isinstance(r, Fetched)} == {second.name}
        assert first.requests == []

    def test_with_one_node_there_is_no_elsewhere(self) -> None:
        with FakeNode() as node:
            results = fetch([node], [1], exclude={node.name})

        assert error(results[0]).code == "RPC_NO_OTHER_ENDPOINT"


class TestChain:
    def test_the_right_chain_passes(self) -> None:
        with FakeNode() as node, RpcClient([node.url], QUICK) as client:
            client.check_chain(1337)

            assert client.chain_id() == 1337

    def test_another_chain_is_fatal_and_both_are_named(self) -> None:
        with (
            FakeNode(chain_id=1) as node,
            RpcClient([node.url], QUICK) as client,
            pytest.raises(FatalError, match=r"serves chain 1; CHAIN_ID says 43114") as caught,
        ):
            client.check_chain(43114)

        assert caught.value.code == "WRONG_CHAIN"

    def test_a_node_that_comes_up_later_with_another_chain_is_never_used(self) -> None:
        with (
            FakeNode() as good,
            FakeNode(chain_id=1, down=True) as other,
            RpcClient([good.url, other.url], QUICK) as client,
        ):
            client.check_chain(1337)
            other.down = False
            results = client.fetch_blocks([Wanted(number) for number in range(100)])
            only_other = client.fetch_blocks([Wanted(1)], exclude={good.name})

        assert kinds(results) == {"Fetched": 100}
        assert other.count("eth_getBlockByNumber") == 0
        assert error(only_other[0]).code == "WRONG_CHAIN"


class TestHeights:
    def test_head_and_finalized_are_those_of_the_node_furthest_ahead(self) -> None:
        with (
            FakeNode(head=100, finalized=90) as behind,
            FakeNode(head=105, finalized=95) as ahead,
            RpcClient([behind.url, ahead.url], QUICK) as client,
        ):
            assert (client.head(), client.finalized()) == (105, 95)

    def test_without_the_tag_confirmations_are_counted(self) -> None:
        with FakeNode(head=1000, finalized=None) as node, RpcClient([node.url], QUICK) as client:
            assert client.finalized() == 1000 - 64
            assert client.finalized() == 1000 - 64

        assert node.count("eth_getBlockByNumber") == 1

    def test_on_avalanche_accepted_is_final(self) -> None:
        with FakeNode(chain_id=43114, head=1000) as node, RpcClient([node.url], QUICK) as client:
            assert client.finalized() == 1000

    def test_nobody_to_ask_is_an_outage(self) -> None:
        with FakeNode(down=True) as node, RpcClient([node.url], QUICK) as client, pytest.raises(OutageError):
            client.head()


class TestCalls:
    def test_a_result_or_an_error_per_call(self) -> None:
        with FakeNode() as node, RpcClient([node.url], QUICK) as client:
            results = client.batch([Call("eth_blockNumber"), Call("eth_nonsense")])

        assert results[0] == hex(1000)
        assert results[1].code == "RPC_METHOD_MISSING"

    def test_a_failed_call_raises(self) -> None:
        with (
            FakeNode() as node,
            RpcClient([node.url], QUICK) as client,
            pytest.raises(TransientError, match="eth_nonsense"),
        ):
            client.call("eth_nonsense")

    def test_a_node_that_is_not_so_far_is_no_failure(self) -> None:
        with (
            FakeNode(unfinalized_error=True) as node,
            RpcClient([node.url], QUICK) as client,
            pytest.raises(NotYetError),
        ):
            client.call("eth_getBlockByNumber", [hex(2000), True])

    def test_damaged_answers_are_asked_for_again_a_few_times_and_no_more(self) -> None:
        with (
            FakeNode(mutate=lambda body: body[:5]) as node,
            RpcClient([node.url], replace(QUICK, breaker_failures=1000)) as client,
            pytest.raises(TransientError) as caught,
        ):
            client.call("eth_blockNumber")

        assert caught.value.code == "RPC_MALFORMED"
        assert 2 <= len(node.requests) <= 8

    def test_a_call_moves_on_to_a_node_that_answers(self) -> None:
        with (
            FakeNode(down=True) as dead,
            FakeNode() as alive,
            RpcClient([dead.url, alive.url], QUICK) as client,
        ):
            assert [client.call("eth_blockNumber") for _ in range(10)] == [hex(1000)] * 10

    def test_nobody_there_is_an_outage(self) -> None:
        with FakeNode(down=True) as node, RpcClient([node.url], QUICK) as client, pytest.raises(OutageError):
            client.call("eth_blockNumber")


def test_the_counters_tell_what_happened() -> None:
    slow_down = web.Response(status=429)
    with FakeNode(scripted=[slow_down]) as node, RpcClient([node.url], QUICK) as client:
        client.fetch_blocks([Wanted(number) for number in range(10)])
        stats = client.snapshot()

    blocks = stats.endpoints[0].methods["eth_getBlockByNumber"]
    assert stats.blocks == 10
    assert stats.endpoints[0].endpoint == node.name
    assert (blocks.requests, blocks.calls, blocks.rate_limited) == (2, 20, 1)
    assert stats.bytes > 0
    assert blocks.seconds > 0
    assert stats.busy_seconds > 0
