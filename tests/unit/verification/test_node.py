"""What `indexer verify` asks a node, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from eth_abi.abi import encode

from indexer.errors import OutageError
from indexer.verification.node import Node
from tests.support.fake_node import FakeNode, block_hash

TOKEN, HOLDER = bytes([0x70]) * 20, bytes([0xA1]) * 20


@dataclass
class Contracts:
    """A node whose eth_call answers what it is told, and notes what it was asked."""

    answer: dict[str, Any]
    asked: list[list[Any]] = field(default_factory=list)

    async def __call__(self, calls: list[Any]) -> web.Response | None:
        if calls[0]["method"] != "eth_call":
            return None
        self.asked.append(calls[0]["params"])
        return web.json_response({"jsonrpc": "2.0", "id": calls[0]["id"], **self.answer})


@pytest.fixture
def fake() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


def test_the_hash_of_a_block(fake: FakeNode) -> None:
    node = Node(fake.url)

    assert node.block_hash(7) == bytes.fromhex(block_hash(7)[2:])
    assert node.block_hash(fake.head + 1) is None


@pytest.mark.parametrize(
    ("standard", "signature", "arguments", "kinds"),
    [
        ("erc20", "70a08231", (HOLDER,), ["address"]),
        ("erc721", "70a08231", (HOLDER,), ["address"]),
        ("erc1155", "00fdd58e", (HOLDER, 2**200), ["address", "uint256"]),
    ],
)
def test_a_balance_is_asked_for_as_its_standard_says(
    fake: FakeNode, standard: str, signature: str, arguments: tuple[Any, ...], kinds: list[str]
) -> None:
    fake.override = contracts = Contracts({"result": f"0x{2**255 + 5:064x}"})

    assert Node(fake.url).balance_of(standard, TOKEN, 2**200, HOLDER, 16) == 2**255 + 5

    data = signature + encode(kinds, ["0x" + HOLDER.hex(), *arguments[1:]]).hex()
    assert contracts.asked == [[{"to": "0x" + "70" * 20, "data": "0x" + data}, "0x10"]]


@pytest.mark.parametrize(
    "answer",
    [
        {"result": "0x"},  # no such contract, or not that function
        {"result": None},
        {"error": {"code": 3, "message": "execution reverted"}},
        {"error": {"code": -32000, "message": "missing trie node"}},
    ],
)
def test_a_contract_that_does_not_answer_has_no_balance(fake: FakeNode, answer: dict[str, Any]) -> None:
    fake.override = Contracts(answer)

    assert Node(fake.url).balance_of("erc20", TOKEN, 0, HOLDER, 16) is None


@pytest.mark.parametrize("result", ["0x" + "zz" * 32, ["0x"] * 70])
def test_a_balance_that_is_no_number_is_no_answer(fake: FakeNode, result: Any) -> None:
    fake.override = Contracts({"result": result})

    with pytest.raises(OutageError) as refused:
        Node(fake.url).balance_of("erc20", TOKEN, 0, HOLDER, 16)

    assert refused.value.code == "NODE_DOWN"


@pytest.mark.parametrize("body", ["[]", "<html>", '{"result": {}}', '{"result": {"hash": "0xzz"}}', '{"result": 5}'])
def test_a_block_that_is_none_is_no_answer(fake: FakeNode, body: str) -> None:
    fake.scripted = [web.Response(text=body)]

    with pytest.raises(OutageError) as refused:
        Node(fake.url).block_hash(7)

    assert refused.value.code == "NODE_DOWN"
    assert "secret" not in str(refused.value)
