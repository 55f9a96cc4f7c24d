"""The values that travel between the services, as plain Python; `indexer/codec.py` puts them into Avro.

A block is a struct of arrays: one list per column, all lists of one struct equally long, item i of each list
belonging to row i. Hashes are 32 bytes, addresses 20 bytes, amounts Python ints (uint256), times Unix seconds.
Column names are those of ethereum-etl wherever it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag, StrEnum


class Reason(StrEnum):
    """Why a block is asked for."""

    BACKFILL = "backfill"
    HEAD = "head"
    REORG = "reorg"
    REPAIR = "repair"
    REPLAY = "replay"

    @property
    def is_urgent(self) -> bool:
        """Tell whether readers wait for the block at the chain's head."""
        return self in (Reason.HEAD, Reason.REORG)


class Proof(IntFlag):
    """What was recomputed and found equal before the block was published (column `blocks.proofs`)."""

    CONSISTENT = 1  # numbers, hashes, counts and indexes agree across the answers
    HEADER_HASH = 2  # keccak of the RLP header (Yellow Paper 4.3; chain rules for extra fields)
    TRANSACTION_HASHES = 4
    TRANSACTIONS_ROOT = 8
    RECEIPTS_ROOT = 16
    LOGS_BLOOM = 32
    GAS_USED = 64
    CONTRACT_ADDRESSES = 128
    EFFECTIVE_GAS_PRICE = 256
    SENDERS = 512  # every sender recovered from its signature
    SENDERS_SAMPLE = 1024  # at least one sender of the block recovered


NOTHING_PROVEN = Proof(0)


@dataclass(frozen=True, slots=True)
class BlockWorkItem:
    """One block number to be fetched, proven and decoded."""

    chain_id: int
    number: int
    generation: int = 0
    expected_hash: bytes | None = None  # 32 bytes; known above the finalized height
    job_id: int | None = None
    reason: Reason = Reason.BACKFILL


@dataclass(frozen=True, slots=True)
class BlockRef:
    """Just enough of a block to know where it hangs on the chain."""

    number: int
    hash: bytes  # 32 bytes
    parent_hash: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class Rollback:
    """Rows at or above `from_number` of an older generation are to go (PROTOCOL 7)."""

    chain_id: int
    from_number: int
    generation: int


@dataclass(slots=True)
class Header:
    """A block header; `extra` keeps the chain's own header fields under their RPC names, as RPC hex strings."""

    number: int
    hash: bytes
    parent_hash: bytes
    sha3_uncles: bytes
    miner: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes  # 256 bytes
    difficulty: int
    gas_limit: int
    gas_used: int
    timestamp: int
    extra_data: bytes
    size: int
    mix_hash: bytes | None = None
    nonce: bytes | None = None  # 8 bytes
    base_fee_per_gas: int | None = None
    total_difficulty: int | None = None
    withdrawals_root: bytes | None = None
    blob_gas_used: int | None = None
    excess_blob_gas: int | None = None
    extra: dict[str, str] = field(default_factory=dict)  # extDataHash, requestsHash, auraStep, …
    uncles: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Transactions:
    """Transactions with their receipts, in block order; row i has transaction_index i."""

    hash: list[bytes] = field(default_factory=list)
    type: list[int] = field(default_factory=list)  # EIP-2718; 0 for legacy
    nonce: list[int] = field(default_factory=list)
    from_address: list[bytes] = field(default_factory=list)
    to_address: list[bytes | None] = field(default_factory=list)
    value: list[int] = field(default_factory=list)  # wei
    gas: list[int] = field(default_factory=list)
    gas_price: list[int] = field(default_factory=list)  # wei, as the node says it
    max_fee_per_gas: list[int | None] = field(default_factory=list)
    max_priority_fee_per_gas: list[int | None] = field(default_factory=list)
    input: list[bytes] = field(default_factory=list)
    v: list[int] = field(default_factory=list)  # v of legacy transactions, yParity of typed ones
    r: list[int] = field(default_factory=list)
    s: list[int] = field(default_factory=list)
    extra: list[str | None] = field(default_factory=list)  # compact JSON of the RPC fields above do not cover:
    # accessList, blobVersionedHashes, maxFeePerBlobGas, authorizationList, sourceHash, mint, a foreign chainId …
    receipt_status: list[int | None] = field(default_factory=list)
    receipt_root: list[bytes | None] = field(default_factory=list)  # before Byzantium (EIP-658)
    receipt_gas_used: list[int] = field(default_factory=list)
    receipt_cumulative_gas_used: list[int] = field(default_factory=list)
    receipt_effective_gas_price: list[int | None] = field(default_factory=list)
    receipt_contract_address: list[bytes | None] = field(default_factory=list)
    receipt_extra: list[str | None] = field(default_factory=list)  # compact JSON: depositNonce, l1Fee …


@dataclass(slots=True)
class Logs:
    log_index: list[int] = field(default_factory=list)
    transaction_index: list[int] = field(default_factory=list)
    address: list[bytes] = field(default_factory=list)
    topic0: list[bytes | None] = field(default_factory=list)
    topic1: list[bytes | None] = field(default_factory=list)
    topic2: list[bytes | None] = field(default_factory=list)
    topic3: list[bytes | None] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class TokenTransfers:
    """One row per moved token; a deposit has the zero address as sender, a withdrawal as receiver."""

    log_index: list[int] = field(default_factory=list)
    batch_index: list[int] = field(default_factory=list)  # 0 but in ERC-1155 TransferBatch
    token_address: list[bytes] = field(default_factory=list)
    standard: list[str] = field(default_factory=list)  # erc20 | erc721 | erc1155
    kind: list[str] = field(default_factory=list)  # transfer | deposit | withdrawal
    from_address: list[bytes] = field(default_factory=list)
    to_address: list[bytes] = field(default_factory=list)
    token_id: list[int] = field(default_factory=list)  # 0 for ERC-20
    amount: list[int] = field(default_factory=list)  # 1 for ERC-721


@dataclass(slots=True)
class DecodedEvents:
    """Events that a model asks for, in log order."""

    log_index: list[int] = field(default_factory=list)
    model: list[str] = field(default_factory=list)
    event: list[str] = field(default_factory=list)  # Swap
    args: list[str] = field(default_factory=list)  # compact JSON object; ints as decimal strings, bytes as 0x…


@dataclass(slots=True)
class DecodedBlock:
    """A block that was proven and decoded: one record on `blocks.decoded`, one unit of progress."""

    chain_id: int
    header: Header
    transactions: Transactions = field(default_factory=Transactions)
    logs: Logs = field(default_factory=Logs)
    token_transfers: TokenTransfers = field(default_factory=TokenTransfers)
    decoded_events: DecodedEvents = field(default_factory=DecodedEvents)
    proofs: Proof = NOTHING_PROVEN
    undecoded_logs: list[int] = field(default_factory=list)  # log indexes; a model named them, its ABI did not fit
    generation: int = 0
    job_id: int | None = None
    reason: Reason = Reason.BACKFILL
    model_version: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one service did with one batch: a record on `pipeline.events`, derived and at least once."""

    service: str  # producer | decoder | persister
    instance: str
    chain_id: int
    stage: str
    partition: int
    first_block: int
    last_block: int
    blocks: int
    at: int  # Unix milliseconds, the end of the batch
    rows: int = 0
    bytes: int = 0
    job_id: int | None = None  # None: no job, or several
    failures: dict[str, int] = field(default_factory=dict)  # stable error code → blocks
    seconds: dict[str, float] = field(default_factory=dict)  # stage → time spent
