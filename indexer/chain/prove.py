"""Usual blocks, read and proven at once by compiled code (native/src/prove.rs), with columns and transfers packed.

Here is no verdict but "proven": whatever is unusual or wrong gives None, and is then for `parse_block` and `verify`
to read, and to refuse by its name. Which proofs a header allows, its hash and its withdrawals stay decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import orjson

from indexer.chain.header import header_hash
from indexer.chain.parse import MALFORMED, parse_header, receipt_extra, transaction_extra
from indexer.chain.rules import ChainRules, Family
from indexer.chain.senders import draw, recover
from indexer.chain.verify import SENDER_SAMPLE_EVERY
from indexer.errors import PoisonError
from indexer.records import Header, Logs, Proof, Transactions

_EXECUTION = Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM
_ROOT_IS_PARTIAL = (Family.HYPERLIQUID, Family.FOREIGN)  # rows outside of the roots, or no roots of Ethereum's kind


@dataclass(frozen=True, slots=True)
class Proven:
    """A block that holds what its header says.

    `packed`: `transactions`, `logs` and `token_transfers` as their schema encodes them; `transactions` is empty then,
    and of `logs` only those are there that were wanted.
    """

    header: Header
    transactions: Transactions
    logs: Logs
    proofs: Proof
    packed: Mapping[str, bytes] = field(default_factory=dict)


class Wanted(NamedTuple):
    """What of a block's logs concerns us."""

    wrapped: frozenset[bytes]  # contracts whose Deposit and Withdrawal are token transfers
    topics: frozenset[bytes] = frozenset()  # topic0 of the logs that are decoded by others


class Task(NamedTuple):
    """What compiled code is told, read by name (native/src/prove.rs explains each)."""

    chain_id: int
    chain_id_text: str
    block_hash: str
    block_number: str
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    gas_used: int
    base_fee: int
    execution: bool
    gas: bool
    prices: bool
    state_sync: bool
    sample: int | None
    wrapped: frozenset[bytes]
    topics: frozenset[bytes]
    transaction_extra: Callable[[bytes], str | None]
    receipt_extra: Callable[[bytes], str | None]


def genuine_header(block: Any, chain: ChainRules, expected_hash: bytes | None = None) -> Header | None:
    """Return the header of `block` if it has the hash that it says, and that is expected; else None."""
    try:
        header = parse_header(block, chain)
        genuine = header.hash == header_hash(header) and expected_hash in (None, header.hash)
    except (PoisonError, *MALFORMED):
        return None
    return header if genuine else None


@dataclass(frozen=True, slots=True)
class Unread:
    """A block and the receipts of its transactions as JSON, and of the block what is read already.

    `own`: its own members; `count`: of its transactions.
    """

    own: Mapping[str, Any]
    count: int
    block: bytes
    receipts: bytes


def prove(
    native: ModuleType,
    header: Header,
    answers: Unread,
    chain: ChainRules,
    wanted: Wanted,
    sample_every: int = SENDER_SAMPLE_EVERY,
) -> Proven | None:
    """Return what `parse_block` and `verify` (mode "full") would, of a genuine header's block; None: ask them."""
    proofs = chain.applicable(header)
    if chain.family in _ROOT_IS_PARTIAL or Proof.HEADER_HASH not in proofs:
        return None
    task = _task(header, answers.own, proofs, chain, draw(header, answers.count, sample_every), wanted)
    found = native.prove_block(answers.block, answers.receipts, task)
    if found is None:
        return None
    if not found["prices_are_told"]:
        proofs &= ~Proof.EFFECTIVE_GAS_PRICE
    if found["sample"] is not None:
        sender, digest, signature = found["sample"]
        if recover(digest, signature) != sender:
            return None
        proofs |= Proof.SENDERS_SAMPLE
    packed = {name: found[name] for name in ("transactions", "logs", "token_transfers")}
    return Proven(header, Transactions(), Logs(*found["log_columns"]), proofs, packed)


def _task(
    header: Header, own: Mapping[str, Any], proofs: Proof, chain: ChainRules, sample: int | None, wanted: Wanted
) -> Task:
    return Task(
        chain_id=chain.chain_id,
        chain_id_text=hex(chain.chain_id),
        block_hash=own["hash"],
        block_number=own["number"],
        transactions_root=header.transactions_root,
        receipts_root=header.receipts_root,
        logs_bloom=header.logs_bloom,
        gas_used=header.gas_used,
        base_fee=header.base_fee_per_gas or 0,
        execution=_EXECUTION in proofs,
        gas=Proof.GAS_USED in proofs,
        prices=Proof.EFFECTIVE_GAS_PRICE in proofs,
        state_sync=chain.family is Family.POLYGON,
        sample=sample,
        wrapped=wanted.wrapped,
        topics=wanted.topics,
        transaction_extra=_transaction_extra(chain),
        receipt_extra=_receipt_extra,
    )


@lru_cache(maxsize=16)
def _transaction_extra(chain: ChainRules) -> Callable[[bytes], str | None]:
    return lambda item: transaction_extra(orjson.loads(item), chain)


def _receipt_extra(item: bytes) -> str | None:
    return receipt_extra(orjson.loads(item))
