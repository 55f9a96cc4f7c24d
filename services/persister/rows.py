"""From decoded blocks to the bytes of COPY, and to the changes of balances; pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import repeat

from indexer.errors import PoisonError
from indexer.records import DecodedBlock, TokenTransfers
from services.persister import binary as b

ZERO_ADDRESS = bytes(20)

Key = tuple[bytes, int, bytes]  # token address, token id, holder
Deltas = dict[Key, int]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "blocks": (
        "chain_id", "number", "hash", "parent_hash", "nonce", "sha3_uncles", "logs_bloom", "transactions_root",
        "state_root", "receipts_root", "miner", "difficulty", "total_difficulty", "size", "extra_data", "gas_limit",
        "gas_used", "timestamp", "transaction_count", "log_count", "base_fee_per_gas", "mix_hash", "withdrawals_root",
        "blob_gas_used", "excess_blob_gas", "extra", "uncles", "proofs", "undecoded_logs", "generation",
        "model_version",
    ),
    "transactions": (
        "chain_id", "block_number", "transaction_index", "hash", "type", "nonce", "from_address", "to_address",
        "value", "gas", "gas_price", "max_fee_per_gas", "max_priority_fee_per_gas", "input", "v", "r", "s", "extra",
        "receipt_status", "receipt_root", "receipt_gas_used", "receipt_cumulative_gas_used",
        "receipt_effective_gas_price", "receipt_contract_address", "receipt_extra",
    ),
    "logs": (
        "chain_id", "block_number", "log_index", "transaction_index", "address", "topic0", "topic1", "topic2",
        "topic3", "data",
    ),
    "token_transfers": (
        "chain_id", "block_number", "log_index", "batch_index", "token_address", "from_address", "to_address",
        "standard", "kind", "token_id", "amount",
    ),
    "decoded_events": ("chain_id", "block_number", "log_index", "model", "event", "args"),
    "transaction_processing": ("chain_id", "block_number", "transaction_index", "code", "log_indexes"),
}  # fmt: skip


@dataclass(slots=True)
class Rows:
    """The rows of some blocks, a piece of COPY data per table and block."""

    tables: dict[str, list[bytes]] = field(default_factory=lambda: {table: [] for table in COLUMNS})
    count: int = 0

    @property
    def bytes(self) -> int:
        return sum(map(len, (piece for pieces in self.tables.values() for piece in pieces)))


class BlockRefusedError(PoisonError):
    """A block whose values have no room in the tables; `number` says which."""

    code = "BLOCK_NOT_STORABLE"

    def __init__(self, block: DecodedBlock, table: str, error: Exception) -> None:
        super().__init__(f"block {block.header.number} does not fit into {table}: {error}")
        self.block = block


def add_deltas(deltas: Deltas, transfers: TokenTransfers) -> None:
    """Add what transfers do to balances; the zero address holds nothing (mint, burn, deposit, withdrawal)."""
    get = deltas.get
    for token, token_id, sender, receiver, amount in zip(
        transfers.token_address,
        transfers.token_id,
        transfers.from_address,
        transfers.to_address,
        transfers.amount,
        strict=True,
    ):
        if sender != ZERO_ADDRESS:
            key = (token, token_id, sender)
            deltas[key] = get(key, 0) - amount
        if receiver != ZERO_ADDRESS:
            key = (token, token_id, receiver)
            deltas[key] = get(key, 0) + amount


def delta_rows(deltas: Deltas) -> bytes:
    """Return the changes that are not zero as rows (token_address, token_id, holder, delta)."""
    changed = [(key, delta) for key, delta in deltas.items() if delta]
    if not changed:
        return b""
    tokens, ids, holders = zip(*[key for key, _ in changed], strict=True)
    changes = b.unique_numerics([delta for _, delta in changed])
    return b.rows(4, b"", (b.blobs(tokens), b.numerics(ids), b.blobs(holders), changes))


def add_rows(rows: Rows, block: DecodedBlock) -> None:
    """Add the rows of a block; raises BlockRefusedError."""
    table = ""
    try:
        for table, pack in _PACK.items():
            piece = pack(block)
            if piece:
                rows.tables[table].append(piece)
    except (struct.error, OverflowError, ValueError, LookupError, TypeError) as error:
        raise BlockRefusedError(block, table, error) from error
    rows.count += (
        1
        + len(block.transactions.hash)
        + len(block.logs.log_index)
        + len(block.token_transfers.log_index)
        + len(block.decoded_events.log_index)
    )


def _key(block: DecodedBlock) -> bytes:
    return b.int8(block.chain_id) + b.int8(block.header.number)


def _block(block: DecodedBlock) -> bytes:
    h = block.header
    return b.one_row(
        (
            b.int8(block.chain_id), b.int8(h.number), b.blob(h.hash), b.blob(h.parent_hash), b.blob(h.nonce),
            b.blob(h.sha3_uncles), b.blob(h.logs_bloom), b.blob(h.transactions_root), b.blob(h.state_root),
            b.blob(h.receipts_root), b.blob(h.miner), b.numeric(h.difficulty), b.numeric(h.total_difficulty),
            b.int8(h.size), b.blob(h.extra_data), b.int8(h.gas_limit), b.int8(h.gas_used), b.int8(h.timestamp),
            b.int4(len(block.transactions.hash)), b.int4(len(block.logs.log_index)), b.numeric(h.base_fee_per_gas),
            b.blob(h.mix_hash), b.blob(h.withdrawals_root), b.int8(h.blob_gas_used), b.int8(h.excess_blob_gas),
            b.json_object(h.extra), b.byte_array(h.uncles), b.int4(block.proofs), b.int4(len(block.undecoded_logs)),
            b.int8(block.generation), b.int8(block.model_version),
        )
    )  # fmt: skip


def _transactions(block: DecodedBlock) -> bytes:
    t = block.transactions
    if not t.hash:
        return b""
    columns = (
        b.int4s(range(len(t.hash))), b.blobs(t.hash), b.int2s(t.type), b.int8s(t.nonce), b.blobs(t.from_address),
        b.maybe_blobs(t.to_address), b.unique_numerics(t.value), b.int8s(t.gas), b.numerics(t.gas_price),
        b.numerics(t.max_fee_per_gas), b.numerics(t.max_priority_fee_per_gas), b.blobs(t.input), b.numerics(t.v),
        b.uint256s(t.r), b.uint256s(t.s), b.jsons(t.extra), b.int2s(t.receipt_status), b.maybe_blobs(t.receipt_root),
        b.int8s(t.receipt_gas_used), b.int8s(t.receipt_cumulative_gas_used),
        b.numerics(t.receipt_effective_gas_price), b.maybe_blobs(t.receipt_contract_address),
        b.jsons(t.receipt_extra),
    )  # fmt: skip
    return b.rows(25, _key(block), columns)


def _logs(block: DecodedBlock) -> bytes:
    l = block.logs  # noqa: E741
    columns = (
        b.int4s(l.log_index), b.int4s(l.transaction_index), b.blobs(l.address), b.maybe_blobs(l.topic0),
        b.maybe_blobs(l.topic1), b.maybe_blobs(l.topic2), b.maybe_blobs(l.topic3), b.blobs(l.data),
    )  # fmt: skip
    return b.rows(10, _key(block), columns)


def _transfers(block: DecodedBlock) -> bytes:
    t = block.token_transfers
    columns = (
        b.int4s(t.log_index), b.int4s(t.batch_index), b.blobs(t.token_address), b.blobs(t.from_address),
        b.blobs(t.to_address), b.words(t.standard), b.words(t.kind), b.numerics(t.token_id),
        b.unique_numerics(t.amount),
    )  # fmt: skip
    return b.rows(11, _key(block), columns)


def _events(block: DecodedBlock) -> bytes:
    e = block.decoded_events
    return b.rows(6, _key(block), (b.int4s(e.log_index), b.words(e.model), b.words(e.event), b.jsons(e.args)))


def _attention(block: DecodedBlock) -> bytes:
    """The transactions with logs that a model named and its ABI did not fit."""
    if not block.undecoded_logs:
        return b""
    transaction_of = dict(zip(block.logs.log_index, block.logs.transaction_index, strict=True))
    found: dict[int, list[int]] = {}
    for log_index in sorted(set(block.undecoded_logs)):
        found.setdefault(transaction_of[log_index], []).append(log_index)
    columns = (b.int4s(found), repeat(b.blob(b"UNDECODED_LOG"), len(found)), map(b.int4_array, found.values()))
    return b.rows(5, _key(block), columns)


_PACK: dict[str, Callable[[DecodedBlock], bytes]] = {
    "blocks": _block,
    "transactions": _transactions,
    "logs": _logs,
    "token_transfers": _transfers,
    "decoded_events": _events,
    "transaction_processing": _attention,
}
