"""How far one endpoint is: its head, what is final there, and which chain it serves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from indexer.errors import TransientError
from indexer.records import BlockRef
from indexer.rpc.answers import Answer, Call, Failure, Kind, malformed
from indexer.rpc.endpoint import Clocks, Endpoint
from indexer.rpc.settings import RpcSettings
from indexer.rpc.slots import Rank


@dataclass(frozen=True, slots=True)
class HeadView:
    """How far an endpoint is."""

    endpoint: str  # its label
    head: int
    finalized: int


class Heights:
    """Head and finalized height of one endpoint, asked for together and remembered for a while.

    Final is what has the confirmations that the settings ask for; without that, what the tag `finalized` names; on
    chains whose accepted blocks are final (C-Chain) the head; where a node does not know the tag, 64 below the head.
    """

    def __init__(self, endpoint: Endpoint, settings: RpcSettings, clocks: Clocks) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._clocks = clocks
        self._asked_at = float("-inf")
        self._knows_tag = True
        self._asking = asyncio.Lock()
        self.head: int | None = None
        self.finalized: int | None = None
        self.chain_id: int | None = None

    async def refresh(self, *, max_age: float) -> Failure | None:
        """Ask the node unless it was asked less than `max_age` seconds ago; return why that failed."""
        async with self._asking:  # who comes meanwhile takes the answer
            if self._clocks.monotonic() - self._asked_at < max_age:
                return None
            return await self._ask()

    async def _ask(self) -> Failure | None:
        if self.chain_id is None:
            failure = await self.learn_chain()
            if failure is not None:
                return failure
        calls = [Call("eth_blockNumber")]
        if self._asks_tag():
            calls.append(Call("eth_getBlockByNumber", ["finalized", False]))
        answers = (await self._endpoint.batch(calls, rank=Rank.URGENT)).answers
        head = quantity(answers[0])
        if isinstance(head, Failure):
            return head
        self.head = head
        self._endpoint.stats.head = head
        self._asked_at = self._clocks.monotonic()
        self._take_finalized(head, answers[1] if len(answers) > 1 else None)
        return None

    async def learn_chain(self) -> Failure | None:
        """Ask for the chain id; return why that failed."""
        answer = quantity((await self._endpoint.batch([Call("eth_chainId")], rank=Rank.URGENT)).answers[0])
        if isinstance(answer, Failure):
            return answer
        self.chain_id = answer
        return None

    def saw(self, number: int) -> None:
        """The node served this block: its head is not below it."""
        if self.head is None or number > self.head:
            self.head = number
            self._endpoint.stats.head = number

    def _asks_tag(self) -> bool:
        return self._knows_tag and self._settings.final_unasked(self.chain_id, 0) is None

    def _take_finalized(self, head: int, answer: Answer) -> None:
        unasked = self._settings.final_unasked(self.chain_id, head)
        if unasked is not None:
            final = unasked
        elif isinstance(answer, dict) and isinstance(number := quantity(answer.get("number")), int):
            final = number
        elif answer is None and self._knows_tag:
            final = 0  # the tag is known and nothing is final yet (a young chain)
        else:
            if isinstance(answer, Failure) and answer.kind in (Kind.PARAMS, Kind.SERVER, Kind.METHOD):
                self._knows_tag = False
            final = self._settings.final_without_tag(head)
        self.finalized = final if self.finalized is None else max(self.finalized, final)


def ref_of(number: int, answer: Answer) -> BlockRef | None:
    """Return the place of the block that a node tells, None where it has none; raises TransientError."""
    if answer is None or (isinstance(answer, Failure) and answer.kind in (Kind.NOT_YET, Kind.MISSING)):
        return None
    try:
        told = BlockRef(
            int(answer["number"], 16), bytes.fromhex(answer["hash"][2:]), bytes.fromhex(answer["parentHash"][2:])
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        failure = answer if isinstance(answer, Failure) else malformed("a block without number, hash or parent")
        raise TransientError(f"header {number}: {failure.message}", code=failure.code) from None
    if told.number != number or len(told.hash) != 32 or len(told.parent_hash) != 32:
        raise TransientError(f"header {number}: another block than asked for", code="RPC_MALFORMED")
    return told


def quantity(answer: Any) -> int | Failure:
    """Return the number that a JSON-RPC quantity (`0x…`) stands for."""
    if isinstance(answer, Failure):
        return answer
    try:
        if isinstance(answer, str) and answer.startswith("0x"):
            return int(answer, 16)
    except ValueError:
        pass
    return malformed("an answer that is not a hexadecimal quantity")
