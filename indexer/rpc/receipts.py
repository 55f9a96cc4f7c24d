"""Receipts of whole blocks, by block hash, in the form that the endpoint turns out to understand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from indexer.rpc.answers import Answer, Call, Failure, Kind, malformed
from indexer.rpc.endpoint import BatchAnswers, Clocks, Endpoint
from indexer.rpc.raw import RawAnswer, loaded
from indexer.rpc.slots import Rank

_PROBE_AGAIN_SECONDS = 600.0


class Form(StrEnum):
    """How receipts can be had."""

    UNKNOWN = "unknown"
    BY_HASH = "eth_getBlockReceipts(hash)"
    BY_OBJECT = "eth_getBlockReceipts({blockHash})"
    BY_TRANSACTION = "eth_getTransactionReceipt, batched"


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block whose receipts are wanted: its hash, and itself, as the node wrote them."""

    hash: str
    block: dict[str, Any] | RawAnswer

    def transaction_hashes(self) -> Sequence[Any]:
        """Return the hashes of its transactions, as the node wrote them."""
        return [transaction.get("hash") for transaction in loaded(self.block)["transactions"]]


class ReceiptSource:
    """Fetches receipts at one endpoint; the form is probed once, with the first block that has transactions.

    - `eth_getBlockReceipts` with the hash as a string, then as an object (EIP-1898)
    - neither known: `eth_getTransactionReceipt`, many in one HTTP batch, never one request per transaction; whether
      the node learned better is looked at every ten minutes
    - the method vanishes while running (a plan changed, another node behind the same name): probed again
    """

    def __init__(self, endpoint: Endpoint, clocks: Clocks) -> None:
        self._endpoint = endpoint
        self._clocks = clocks
        self._form = Form.UNKNOWN
        self._probed_at = float("-inf")
        self._probing = asyncio.Lock()

    @property
    def form(self) -> Form:
        return self._form

    async def fetch(self, blocks: Sequence[BlockRef], *, rank: Rank = Rank.FINISHING) -> BatchAnswers:
        """Return a list of receipts, or a Failure, for each block."""
        if not blocks:
            return BatchAnswers([], [])
        for _ in range(2):
            failure = await self._know_form(blocks[0], rank)
            if failure is not None:
                return BatchAnswers([failure] * len(blocks), [0] * len(blocks))
            if self._form is Form.BY_TRANSACTION:
                return await self._by_transaction(blocks, rank)
            got = await self._endpoint.batch([_call(self._form, block.hash) for block in blocks], rank=rank, raw=True)
            if not any(isinstance(answer, Failure) and answer.kind is Kind.METHOD for answer in got.answers):
                break
            self._form = Form.UNKNOWN
        return BatchAnswers([_checked(answer) for answer in got.answers], got.sizes, got.seconds)

    async def _know_form(self, block: BlockRef, rank: Rank) -> Failure | None:
        if self._is_known():
            return None
        async with self._probing:
            if self._is_known():
                return None
            return await self._probe(block, rank)

    def _is_known(self) -> bool:
        if self._form is Form.BY_TRANSACTION:
            return self._clocks.monotonic() - self._probed_at < _PROBE_AGAIN_SECONDS
        return self._form is not Form.UNKNOWN

    async def _probe(self, block: BlockRef, rank: Rank) -> Failure | None:
        for form in (Form.BY_HASH, Form.BY_OBJECT):
            answer = (await self._endpoint.batch([_call(form, block.hash)], rank=rank)).answers[0]
            if isinstance(answer, list):
                self._settle(form)
                return None
            if not isinstance(answer, Failure):
                # null: this block is unknown here, which says nothing of the method
                return Failure(Kind.SERVER, "RPC_RECEIPTS_MISSING", "the node has no receipts for the block")
            if answer.kind not in (Kind.METHOD, Kind.PARAMS):
                return answer
        self._settle(Form.BY_TRANSACTION)
        return None

    def _settle(self, form: Form) -> None:
        self._form = form
        self._probed_at = self._clocks.monotonic()
        self._endpoint.stats.receipts = form.value

    async def _by_transaction(self, blocks: Sequence[BlockRef], rank: Rank) -> BatchAnswers:
        hashes = [block.transaction_hashes() for block in blocks]
        calls = [Call("eth_getTransactionReceipt", [each]) for own in hashes for each in own]
        got = await self._endpoint.batch(calls, rank=rank, least=2)
        result = BatchAnswers([], [], got.seconds)
        at = 0
        for block, own in zip(blocks, hashes, strict=True):
            end = at + len(own)
            result.answers.append(_together(got.answers[at:end], block.hash))
            result.sizes.append(sum(got.sizes[at:end]))
            at = end
        return result


def _call(form: Form, block_hash: str) -> Call:
    return Call("eth_getBlockReceipts", [block_hash if form is Form.BY_HASH else {"blockHash": block_hash}])


def _checked(answer: Answer) -> Answer:
    if isinstance(answer, Failure) or (isinstance(answer, RawAnswer) and answer.outline is None):
        return answer
    if answer is None:
        return Failure(Kind.SERVER, "RPC_RECEIPTS_MISSING", "the node has the block but not its receipts")
    if isinstance(answer, list) and set(map(type, answer)) <= {dict}:
        return answer
    return malformed("receipts that are not a list of objects")


def _together(answers: Sequence[Answer], block_hash: str) -> Answer:
    """Return one block's receipts; a receipt of another block came from a fork in between."""
    for answer in answers:
        if isinstance(answer, Failure):
            return answer
        if answer is None:
            return Failure(Kind.SERVER, "RPC_RECEIPTS_MISSING", "the node has the block but not all its receipts")
        if not isinstance(answer, dict):
            return malformed("a receipt that is not an object")
        if answer.get("blockHash") != block_hash:
            return Failure(Kind.MISMATCH, "RPC_RECEIPT_OF_OTHER_BLOCK", "a receipt belongs to another block")
    return list(answers)
