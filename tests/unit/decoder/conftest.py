"""A short chain, and a decoder's core that knows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from devchain.build import open_chain
from devchain.endpoint import read
from devchain.params import ChainParams
from indexer import codec
from indexer.abi.models import ModelSet
from indexer.chain.rules import rules_for
from indexer.inflight import Record
from indexer.records import BlockWorkItem
from indexer.rpc.fetch import Fetched
from indexer.rpc.raw import RawAnswer
from indexer.topics import load_topics
from services.decoder.handler import Decoder
from tests.support.native import compiled

CHAIN = 43114
HEAD = 20

Fetch = Callable[..., Fetched]


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[bytes, bytes]]:
    """What the node says of each block: eth_getBlockByNumber and eth_getBlockReceipts."""
    chain = open_chain(ChainParams(profile="mixed", blocks=HEAD), tmp_path_factory.mktemp("chain"), jobs=1)
    found = {}
    for number in range(HEAD + 1):
        block, receipts = chain.block(number), chain.receipts(number)
        assert block is not None
        assert receipts is not None
        found[number] = (read(block), read(receipts))
    return found


@pytest.fixture(params=["read", "unread"])
def fetched(request: pytest.FixtureRequest, answers: dict[int, tuple[bytes, bytes]]) -> Fetch:
    """A function from a number to a genuine answer; keyword arguments replace fields of the block."""

    def make(number: int, endpoint: str = "node-1", **altered: Any) -> Fetched:
        block, receipts = map(orjson.loads, answers[number])
        block |= altered
        size = len(answers[number][0])
        if request.param == "read" or not isinstance(block["transactions"], list):
            return Fetched(number, block, receipts, endpoint, size)
        return Fetched(number, unread(block), unread(receipts), endpoint, size)

    return make


def unread(answer: Any) -> RawAnswer:
    if isinstance(answer, list):
        return RawAnswer(orjson.dumps(answer), None, len(answer))
    return RawAnswer(orjson.dumps(answer), answer | {"transactions": []}, len(answer["transactions"]))


@pytest.fixture(params=["python", "native"])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    topics = load_topics("t.")
    return Decoder(
        chain=rules_for(CHAIN),
        models=ModelSet(),
        wrapped=frozenset(),
        mode="full",
        topics=topics,
        partitions=12,
        topic_ids={name: f"id of {name}" for name in topics.names},
        build="abc",
        native=compiled() if request.param == "native" else None,
    )


def record_of(
    number: int = 7,
    *,
    topic: str = "t.blocks.work.normal",
    partition: int = 0,
    offset: int = 5,
    headers: tuple[tuple[str, bytes | None], ...] = (),
    **item: Any,
) -> Record:
    value = codec.encode_work_item(BlockWorkItem(**{"chain_id": CHAIN, "number": number, "job_id": 1} | item))
    return Record(topic, partition, offset, codec.block_key(CHAIN, number), value, headers, 1_700_000_000_000)
