"""Whether a block's stored rows are genuine, and what was derived from its logs is what comes out again; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from indexer.abi.decode import Decoded, decode_logs
from indexer.abi.models import ModelSet
from indexer.audit.cells import unfit
from indexer.chain.rules import ChainRules
from indexer.chain.verify import verify
from indexer.errors import PoisonError
from indexer.records import Header, Logs, Proof, TokenTransfers, Transactions

Transfer = tuple[int, int, bytes, bytes, bytes, str, str, int, int]
Event = tuple[int, str, str, str]  # log_index, model, event, args with sorted keys

# What no hash, root or signature covers, whatever the chain; docs/reference/verification.md says more.
UNPROVEN = (
    "blocks.size",
    "blocks.total_difficulty",
    "blocks.uncles",
    "blocks.mix_hash and blocks.nonce where blocks.extra has auraSeal",
    "blocks.extra: l1BlockNumber, sendCount, sendRoot",
    "transactions.gas_price of types 2, 3 and 4",
    "transactions.max_fee_per_gas, max_priority_fee_per_gas and extra: whether a zero is there or nothing",
    "transactions.receipt_contract_address: whether it is there where a creation failed, or before Byzantium",
    "transactions.receipt_extra",
    "columns of system transactions that their hash does not have",
)
# Ours: nothing on the chain can tell them.
OWN = ("blocks.generation", "blocks.proofs", "blocks.model_version", "blocks.stored_at", "block_processing.*")

_SENDERS = Proof.SENDERS | Proof.SENDERS_SAMPLE
_ATTENTION = "UNDECODED_LOG"


@dataclass(slots=True)
class StoredBlock:
    """All rows of one block, as the columns they came from."""

    header: Header
    transactions: Transactions
    logs: Logs
    transaction_count: int
    log_count: int
    proofs: int
    undecoded_logs: int
    model_version: int
    transaction_indexes: list[int] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    attention: list[tuple[int, str, list[int]]] = field(default_factory=list)  # transaction, code, log indexes
    stored_at: Any = None


@dataclass(frozen=True, slots=True)
class Decoding:
    """What logs are decoded with."""

    models: ModelSet
    wrapped: frozenset[bytes]

    def decode(self, block: StoredBlock) -> Decoded:
        return decode_logs(block.logs, block.header.number, self.models, self.wrapped)


def proven(block: StoredBlock, rules: ChainRules) -> Proof:
    """Recompute hash, roots, senders and counts; return what was proven.

    Raises PoisonError where they differ, or where something stands that no decoder writes.
    """
    header, transactions, logs = block.header, block.transactions, block.logs
    found = len(transactions.hash), len(logs.log_index)
    if found != (block.transaction_count, block.log_count):
        text = f"{found[0]} of {block.transaction_count} transactions, {found[1]} of {block.log_count} logs are there"
        raise PoisonError(text, code="ROWS_INCOMPLETE")
    if block.transaction_indexes != list(range(found[0])):
        raise PoisonError("transaction indexes do not count up from 0", code="ROWS_INCOMPLETE")
    if columns := list(unfit(header, transactions, logs, rules)):
        text = f"no decoder writes what stands in {', '.join(dict.fromkeys(columns))}"
        raise PoisonError(text, code="ROWS_IMPOSSIBLE")
    proofs = verify(header, transactions, logs, rules, "senders")
    if claimed := block.proofs & ~int(proofs | _SENDERS):
        raise PoisonError(f"claims proofs that its rows do not give: {claimed:b}", code="PROOFS_CLAIMED")
    return proofs


def wrongly_derived(block: StoredBlock, decoding: Decoding) -> list[str]:
    """Return which derived rows are not what the stored logs come to.

    Of a block that other models decoded, only transfers are compared that no model decides about.
    """
    ours = block.model_version == decoding.models.version
    return differing(block, decoding.decode(block), ours)


def differing(block: StoredBlock, decoded: Decoded, ours: bool) -> list[str]:
    """Return which derived rows are not the decoded ones; `ours`: with the same models, so that all are compared."""
    wrong = []
    if _plain(block.transfers, ours) != _plain(transfers_of(decoded.token_transfers), ours):
        wrong.append("token_transfers")
    if not ours:
        return wrong
    if sorted(block.events) != sorted(events_of(decoded)):
        wrong.append("decoded_events")
    if block.undecoded_logs != len(decoded.undecoded):
        wrong.append("blocks.undecoded_logs")
    if sorted(block.attention) != sorted(attention_of(block.logs, decoded.undecoded)):
        wrong.append("transaction_processing")
    return wrong


def _plain(transfers: Iterable[Transfer], wrapped_too: bool) -> list[Transfer]:
    return sorted(each for each in transfers if wrapped_too or each[6] == "transfer")


def transfers_of(t: TokenTransfers) -> Iterator[Transfer]:
    """Yield rows in the order of the table's columns."""
    columns = (
        t.log_index, t.batch_index, t.token_address, t.from_address, t.to_address, t.standard, t.kind, t.token_id,
        t.amount,
    )  # fmt: skip
    return zip(*columns, strict=True)


def events_of(decoded: Decoded) -> Iterator[Event]:
    e = decoded.decoded_events
    return zip(e.log_index, e.model, e.event, map(same_json, e.args), strict=True)


def attention_of(logs: Logs, undecoded: Iterable[int]) -> list[tuple[int, str, list[int]]]:
    """Return the transactions with logs that a model named and its ABI did not fit."""
    transaction_of = dict(zip(logs.log_index, logs.transaction_index, strict=True))
    found: dict[int, list[int]] = {}
    for log_index in sorted(set(undecoded)):
        found.setdefault(transaction_of[log_index], []).append(log_index)
    return [(transaction, _ATTENTION, indexes) for transaction, indexes in found.items()]


def same_json(text: str) -> str:
    """Return one text for equal values: the database does not keep the order of keys. What cannot be read stays."""
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()
    except ValueError:  # nested deeper than anything that we write
        return text
