"""Blocks with their receipts from one endpoint: one batch for the blocks, one for the receipts by block hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from indexer.rpc.answers import Answer, Call, Failure, Kind, malformed
from indexer.rpc.endpoint import BatchAnswers, Endpoint
from indexer.rpc.raw import RawAnswer, loaded, outlined, transactions_of
from indexer.rpc.receipts import BlockRef, ReceiptSource
from indexer.rpc.slots import Rank

Block = dict[str, Any] | RawAnswer


@dataclass(frozen=True, slots=True)
class Wanted:
    """A block number, and its hash (32 bytes) where it is known already."""

    number: int
    expected_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A block as `endpoint` (its label) gave it; `size` is about its share of the answers' bytes."""

    number: int
    block: dict[str, Any] | RawAnswer
    receipts: list[dict[str, Any]] | RawAnswer
    endpoint: str
    size: int

    @property
    def raw_block(self) -> dict[str, Any]:
        """The block, read."""
        block: dict[str, Any] = loaded(self.block)
        return block

    @property
    def raw_receipts(self) -> list[dict[str, Any]]:
        """The receipts, read."""
        receipts: list[dict[str, Any]] = loaded(self.receipts)
        return receipts


@dataclass(frozen=True, slots=True)
class Round:
    """What one endpoint made of a group of blocks, and the seconds it took for its answers."""

    outcomes: list[Fetched | Failure]
    seconds: float


async def fetch_on(
    endpoint: Endpoint, source: ReceiptSource, wanted: Sequence[Wanted], *, urgent: bool = False
) -> Round:
    """Ask for each of `wanted`: a block, or why there is none, in the same order."""
    calls = [Call("eth_getBlockByNumber", [hex(item.number), True]) for item in wanted]
    blocks = await endpoint.batch(calls, rank=Rank.URGENT if urgent else Rank.NEW, raw=True)
    checked = [_checked(answer, item) for answer, item in zip(blocks.answers, wanted, strict=True)]
    receipts = await _receipts(source, checked, urgent)
    told = [own + of_receipts for own, of_receipts in zip(blocks.sizes, receipts.sizes, strict=True)]
    sizes = _sizes(checked, receipts.answers, told)
    result: list[Fetched | Failure] = []
    for index, (item, block) in enumerate(zip(wanted, checked, strict=True)):
        answer = receipts.answers[index]
        if isinstance(block, Failure) or isinstance(answer, Failure):
            result.append(block if isinstance(block, Failure) else answer)
            continue
        result.append(Fetched(item.number, block, answer, endpoint.name, sizes[index]))
    return Round(result, blocks.seconds + receipts.seconds)


def _checked(answer: Answer, wanted: Wanted) -> Block | Failure:
    """Return the block when it is one, has the wanted number, and the expected hash if there is one."""
    if isinstance(answer, Failure):
        return answer
    if answer is None:
        return Failure(Kind.MISSING, "NOT_YET", "the node does not have the block")
    block = outlined(answer)
    if not isinstance(block, dict):
        return malformed("a block that is not an object")
    block_hash, transactions = block.get("hash"), block.get("transactions")
    if not _is_hash(block_hash) or not isinstance(transactions, list):
        return malformed("a block without a hash or a list of transactions")
    if not set(map(type, transactions)) <= {dict}:
        return malformed("a block with transactions that are not objects")
    if _quantity(block.get("number")) != wanted.number:
        return malformed("a block of another number than asked for")
    if wanted.expected_hash is not None and block_hash.lower() != "0x" + wanted.expected_hash.hex():
        return Failure(Kind.MISMATCH, "RPC_OTHER_HASH", f"the node has block {block_hash} at this height")
    found: Block = answer
    return found


def _is_hash(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 66 and value.startswith("0x")


def _quantity(value: Any) -> int | None:
    """Return the number of a JSON-RPC quantity, or None when it is none."""
    try:
        return int(value, 16) if isinstance(value, str) and value.startswith("0x") else None
    except ValueError:
        return None


async def _receipts(source: ReceiptSource, blocks: Sequence[Block | Failure], urgent: bool) -> BatchAnswers:
    """Return receipts aligned with `blocks`: none asked for where a block failed or has no transactions."""
    result = BatchAnswers([[] for _ in blocks], [0] * len(blocks))
    places, refs = [], []
    for index, block in enumerate(blocks):
        if not isinstance(block, Failure) and transactions_of(block):
            places.append(index)
            refs.append(BlockRef(outlined(block)["hash"], block))
    got = await source.fetch(refs, rank=Rank.URGENT if urgent else Rank.FINISHING)
    result.seconds = got.seconds
    for index, answer, size in zip(places, got.answers, got.sizes, strict=True):
        result.answers[index] = answer
        result.sizes[index] = size
    return result


def _sizes(blocks: Sequence[Block | Failure], receipts: Sequence[Answer], told: Sequence[int]) -> list[int]:
    """Return the bytes of each block: those that are held where nothing was read, else its share."""
    shares = _shares([0 if isinstance(block, Failure) else transactions_of(block) for block in blocks], told)
    return [
        own if isinstance(block, RawAnswer) and isinstance(answer, RawAnswer | list) else share
        for block, answer, own, share in zip(blocks, receipts, told, shares, strict=True)
    ]


def _shares(items: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Share out the bytes of a batch by the number of items in each block: a giant beside empty blocks is told apart.

    Rough, and cheap: only limits are steered by the result.
    """
    weights = [3 + count for count in items]
    scale = sum(sizes) / (sum(weights) or 1)
    return [int(weight * scale) for weight in weights]
