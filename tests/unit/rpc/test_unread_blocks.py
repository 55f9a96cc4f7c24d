"""A pool that leaves blocks unread finds the same blocks, and reads only what it must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

import orjson
import pytest

from indexer.rpc.attempt import FetchResult
from indexer.rpc.facade import BlockFetcher
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.pool import RpcPool
from indexer.rpc.raw import RawAnswer, Split
from indexer.rpc.settings import RpcSettings
from indexer.rpc.transport import Reply
from tests.support.fake_node import FakeNode
from tests.support.native import compiled

NUMBERS = (0, 1, 2, 3, 7)
SETTINGS = RpcSettings(budget_seconds=0.05, outage_seconds=0.02, backoff_seconds=0.001)


@pytest.fixture(scope="module")
def native() -> ModuleType:
    return compiled()


class NodeInMemory:
    """A transport that answers as the fake node would."""

    def __init__(self, node: FakeNode, spoil: Callable[[bytes], bytes] = lambda body: body) -> None:
        self._node, self._spoil = node, spoil

    async def post(self, body: bytes, *, limit: int) -> Reply:
        asked = orjson.loads(body)
        reply = self._node._reply(asked, asked if isinstance(asked, list) else [asked])
        return Reply(200, None, self._spoil(orjson.dumps(reply)))

    async def close(self) -> None: ...


def fetched(node: NodeInMemory, split: Split | None, *numbers: int) -> list[FetchResult]:
    async def ask() -> list[FetchResult]:
        pool = RpcPool(["http://node"], settings=SETTINGS, transport=lambda url, settings: node, split=split)
        try:
            return await pool.fetch_blocks([Wanted(number) for number in numbers])
        finally:
            await pool.close()

    return asyncio.run(ask())


def blocks(results: list[FetchResult]) -> list[Fetched]:
    assert all(isinstance(result, Fetched) for result in results)
    return [result for result in results if isinstance(result, Fetched)]


def read(results: list[FetchResult]) -> list[tuple[Any, Any]]:
    return [(each.raw_block, each.raw_receipts) for each in blocks(results)]


@pytest.mark.parametrize("receipts_by", ["hash", "object", "transaction"])
def test_an_unread_block_is_the_block_that_is_read(native: ModuleType, receipts_by: str) -> None:
    node = NodeInMemory(FakeNode(receipts_by=receipts_by))

    unread = fetched(node, native.split, *NUMBERS)

    assert all(isinstance(each.block, RawAnswer) for each in blocks(unread))
    assert read(unread) == read(fetched(node, None, *NUMBERS))


def test_without_compiled_code_every_block_is_read() -> None:
    for each in blocks(fetched(NodeInMemory(FakeNode()), None, *NUMBERS)):
        assert isinstance(each.block, dict)
        assert isinstance(each.receipts, list)


def test_receipts_of_whole_blocks_stay_unread(native: ModuleType) -> None:
    for each in blocks(fetched(NodeInMemory(FakeNode()), native.split, 1, 2, 3)):
        assert isinstance(each.receipts, RawAnswer)


def test_what_is_held_is_counted(native: ModuleType) -> None:
    node = NodeInMemory(FakeNode(padding={2: 5000}))

    for each in blocks(fetched(node, native.split, 1, 2, 3)):
        assert isinstance(each.block, RawAnswer)
        assert isinstance(each.receipts, RawAnswer)
        assert each.size == len(each.block.json) + len(each.receipts.json)


def test_blocks_beside_an_odd_answer_are_read(native: ModuleType) -> None:
    node = NodeInMemory(FakeNode(), lambda body: body.replace(b'{"', b'{"\\u0078":1,"'))

    results = fetched(node, native.split, *NUMBERS)

    assert [each.number for each in blocks(results)] == list(NUMBERS)
    assert all(isinstance(each.block, dict) for each in blocks(results))


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Wanted(1001, b"\1" * 32), "NOT_YET"),
        (Wanted(3, b"\1" * 32), "RPC_OTHER_HASH"),
        (Wanted(950), "NOT_YET"),
    ],
)
def test_an_unread_block_is_refused_as_one_that_is_read(native: ModuleType, wanted: Wanted, code: str) -> None:
    async def ask(split: Split | None) -> str:
        node = NodeInMemory(FakeNode())
        pool = RpcPool(["http://node"], settings=SETTINGS, transport=lambda url, settings: node, split=split)
        (result,) = await pool.fetch_blocks([wanted])
        return result.code if not isinstance(result, Fetched) else "fetched"

    assert asyncio.run(ask(native.split)) == asyncio.run(ask(None)) == code


def test_a_list_in_place_of_a_block_is_no_block(native: ModuleType) -> None:
    def swap(body: bytes) -> bytes:
        answers = orjson.loads(body)
        for item in answers if isinstance(answers, list) else [answers]:
            if isinstance(item["result"], dict) and "number" in item["result"]:
                item["result"] = [item["result"]]
        return orjson.dumps(answers)

    (result,) = fetched(NodeInMemory(FakeNode(), swap), native.split, 3)

    assert not isinstance(result, Fetched)
    assert result.code in ("RPC_MALFORMED", "RPC_OUTAGE")


def test_a_block_in_place_of_receipts_is_no_list(native: ModuleType) -> None:
    def swap(body: bytes) -> bytes:
        answers = orjson.loads(body)
        for item in answers if isinstance(answers, list) else [answers]:
            if isinstance(item["result"], list):
                item["result"] = {"transactions": []}
        return orjson.dumps(answers)

    (result,) = fetched(NodeInMemory(FakeNode(receipts_by="hash"), swap), native.split, 3)

    assert not isinstance(result, Fetched)


def test_a_fetcher_hands_out_unread_blocks(native: ModuleType) -> None:
    with FakeNode() as node, BlockFetcher([node.url], split=native.split) as fetcher:
        fetcher.submit("a", [Wanted(3)])
        ((key, results),) = fetcher.completed(10)

    assert key == "a"
    assert isinstance(blocks(results)[0].block, RawAnswer)
