"""Whatever a node answers: every wanted number gets exactly one result, and no exception escapes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from indexer.errors import IndexerError
from indexer.rpc.answers import Failure, Kind
from indexer.rpc.endpoint import Clocks
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.pool import RpcPool
from indexer.rpc.settings import RpcSettings
from indexer.rpc.transport import Reply, TransportError
from tests.support.fake_node import FakeNode
from tests.support.native import compiled

SETTINGS = RpcSettings(
    budget_seconds=0.05,
    outage_seconds=0.02,
    backoff_seconds=0.001,
    backoff_max_seconds=0.002,
    breaker_open_seconds=0.001,
    breaker_open_max_seconds=0.002,
    retry_after_max_seconds=0.01,
    batch_size=4,
)
ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1.5,
    "",
    "0x",
    "0xzz",
    "0x1",
    [],
    {},
    [None],
    {"hash": 1},
    "0x" + "1" * 64,
]


class MutatingNode:
    """A transport that answers as a fake node would, then spoils the answer as `seed` has it."""

    def __init__(self, seed: int, rate: float) -> None:
        self._node = FakeNode(head=12, finalized=6)
        self._chance = random.Random(seed)
        self._rate = rate

    async def post(self, body: bytes, *, limit: int) -> Reply:
        await asyncio.sleep(0)
        asked = orjson.loads(body)
        reply = self._node._reply(asked, asked if isinstance(asked, list) else [asked])
        if self._chance.random() > self._rate:
            return Reply(200, None, orjson.dumps(reply))
        return self._chance.choice([self._mutated, self._cut, self._flipped, self._status, self._failed])(reply)

    async def close(self) -> None: ...

    def _mutated(self, reply: Any) -> Reply:
        for _ in range(self._chance.randint(1, 4)):
            reply = self._change(reply)
        return Reply(200, None, orjson.dumps(reply, option=orjson.OPT_NON_STR_KEYS, default=str))

    def _change(self, value: Any) -> Any:
        """Return `value` with one place somewhere in it replaced, dropped or doubled."""
        if isinstance(value, dict) and value and self._chance.random() < 0.9:
            key = self._chance.choice(sorted(value))
            if self._chance.random() < 0.2:
                return {name: inner for name, inner in value.items() if name != key}
            return {**value, key: self._change(value[key])}
        if isinstance(value, list) and value and self._chance.random() < 0.9:
            at = self._chance.randrange(len(value))
            what = self._chance.choice([[], [value[at], value[at]], [self._change(value[at])]])
            return [*value[:at], *what, *value[at + 1 :]]
        odd = self._chance.choice(ODD_VALUES)
        return odd if not isinstance(odd, int) or odd < 2**63 else float(odd)

    def _cut(self, reply: Any) -> Reply:
        body = orjson.dumps(reply)
        return Reply(200, None, body[: self._chance.randrange(len(body))])

    def _flipped(self, reply: Any) -> Reply:
        body = bytearray(orjson.dumps(reply))
        for _ in range(self._chance.randint(1, 5)):
            body[self._chance.randrange(len(body))] = self._chance.randrange(256)
        return Reply(200, None, body)

    def _status(self, reply: Any) -> Reply:
        status = self._chance.choice([204, 301, 400, 401, 404, 413, 429, 500, 503, 999])
        return Reply(status, self._chance.choice([None, "0", "1", "soon", "\x00"]), orjson.dumps(reply))

    def _failed(self, reply: Any) -> Reply:
        kind = self._chance.choice(list(Kind))
        raise TransportError(Failure(kind, "RPC_" + kind.name, "spoiled"))


@pytest.mark.parametrize("unread", [False, True])
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([0.1, 0.5, 1.0]),
    numbers=st.lists(st.integers(0, 15), min_size=1, max_size=9),
    endpoints=st.integers(1, 3),
)
@example(seed=0, rate=1.0, numbers=[1, 1, 1], endpoints=1)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_wanted_number_gets_exactly_one_result(
    seed: int, rate: float, numbers: list[int], endpoints: int, unread: bool
) -> None:
    seeds = iter(range(seed, seed + endpoints))
    split = compiled().split if unread else None

    async def scenario() -> list[Any]:
        pool = RpcPool(
            [f"http://node{index}" for index in range(endpoints)],
            settings=SETTINGS,
            clocks=Clocks(chance=random.Random(seed)),
            transport=lambda url, settings: MutatingNode(next(seeds), rate),
            split=split,
        )
        try:
            wanted = [Wanted(number) for number in numbers]
            return await asyncio.wait_for(pool.fetch_blocks(wanted), timeout=30)
        finally:
            await pool.close()

    results = asyncio.run(scenario())

    assert len(results) == len(numbers)
    for number, result in zip(numbers, results, strict=True):
        if isinstance(result, Fetched):
            assert result.number == number
            assert int(result.raw_block["number"], 16) == number
            assert all(isinstance(receipt, dict) for receipt in result.raw_receipts)
        else:
            assert isinstance(result, IndexerError)
            assert result.code != "RPC_INTERNAL", repr(result.__cause__)
