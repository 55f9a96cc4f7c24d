"""Prove a block genuine: recompute every hash and root that its columns allow, and compare.

Works from columns, not from a node's JSON, so that the same function checks a block before it is published and rows
that come back from the database. What is proven on which chain, and what remains the node's word, is in
docs/reference/verification.md.
"""

from __future__ import annotations

from typing import Literal

from indexer.chain.errors import VerificationError, differs, malformed, refused
from indexer.chain.executed import verify_receipts
from indexer.chain.header import header_hash
from indexer.chain.keccak import hasher
from indexer.chain.rules import ChainRules, Family
from indexer.chain.senders import verify_senders
from indexer.chain.transactions import encode_transactions
from indexer.chain.trie import ordered_root
from indexer.records import Header, Logs, Proof, Transactions

__all__ = ["Mode", "VerificationError", "verify", "verify_header", "verify_receipts", "verify_transactions"]

Mode = Literal["full", "senders", "consistency"]

SENDER_SAMPLE_EVERY = 4  # recovering a sender takes 65 µs: 16 µs a block on average

_ALWAYS = Proof.CONSISTENT | Proof.HEADER_HASH
_TRANSACTION_PROOFS = Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT


def verify(
    header: Header,
    transactions: Transactions,
    logs: Logs,
    chain: ChainRules,
    mode: Mode = "full",
    expected_hash: bytes | None = None,
    sender_sample_every: int = SENDER_SAMPLE_EVERY,
) -> Proof:
    """Return what was recomputed and found equal.

    Modes: `full` proves all that the chain's rules allow, and the sender of one transaction in one of
    `sender_sample_every` blocks; `senders` all senders too; `consistency` only that the columns fit each other.

    Raises VerificationError with a stable code where something differs, PoisonError MALFORMED_BLOCK where the
    columns hold what no block can.
    """
    if expected_hash is not None and header.hash != expected_hash:
        raise differs("UNEXPECTED_HASH", header, "block hash", header.hash, expected_hash)
    try:
        check_columns(header, transactions, logs)
        if mode == "consistency" or Proof.HEADER_HASH not in chain.applicable(header):
            return Proof.CONSISTENT
        verify_header(header)
        return (
            _ALWAYS
            | verify_transactions(header, transactions, chain)
            | verify_receipts(header, transactions, logs, chain)
            | verify_senders(header, transactions, chain, 0 if mode == "senders" else sender_sample_every)
        )
    except (TypeError, ValueError, ArithmeticError, IndexError, KeyError, AttributeError) as error:
        raise malformed(f"block {header.number}: columns cannot be hashed: {error!r:.120}") from error


def check_columns(header: Header, transactions: Transactions, logs: Logs) -> None:
    """Check that rows are complete, in order, and belong to each other."""
    count = len(transactions.hash)
    receipts = len(transactions.receipt_gas_used)
    if receipts != count:
        raise refused("RECEIPT_COUNT_MISMATCH", header, f"{receipts} receipts for {count} transactions")
    if len(set(transactions.hash)) != count:
        raise refused("TRANSACTION_HASH_DISAGREES", header, "two transactions have the same hash")
    if logs.log_index != list(range(len(logs.address))):
        raise refused("LOG_INDEX_GAP", header, "log indexes do not count up from 0")
    owners = logs.transaction_index
    if owners and (owners != sorted(owners) or owners[0] < 0 or owners[-1] >= count):
        raise refused("TRANSACTION_INDEX_DISAGREES", header, "logs are not in the order of the transactions")


def verify_header(header: Header) -> Proof:
    """Recompute the block hash from the header's fields."""
    computed = header_hash(header)
    if computed != header.hash:
        raise differs("HEADER_HASH_MISMATCH", header, "hash of the header", header.hash, computed)
    return Proof.HEADER_HASH


def verify_transactions(header: Header, transactions: Transactions, chain: ChainRules) -> Proof:
    """Recompute the hash of each transaction, and the root over all of them; return what was found equal."""
    proven = chain.applicable(header) & _TRANSACTION_PROOFS
    if not proven:
        return proven
    encoded = encode_transactions(transactions, chain)
    outside = chain.outside_of_roots(header, transactions)
    hash_ = hasher
    hashes = [None if item is None else hash_(item).digest() for item in encoded]
    if hashes != transactions.hash:
        _compare_hashes(header, transactions, hashes, outside)
    if outside and chain.family is not Family.POLYGON:  # whose state-sync is known by its hash
        proven &= ~Proof.TRANSACTION_HASHES
    items = [item for item in encoded if item is not None]
    if len(items) != len(encoded):
        return Proof(0)
    if outside:
        items = [item for i, item in enumerate(items) if i not in outside]
    root = ordered_root(items)
    if root != header.transactions_root:
        what = "root of the transactions"
        raise differs("TRANSACTIONS_ROOT_MISMATCH", header, what, header.transactions_root, root)
    return proven


def _compare_hashes(
    header: Header, transactions: Transactions, hashes: list[bytes | None], outside: frozenset[int]
) -> None:
    for index, (told, computed) in enumerate(zip(transactions.hash, hashes, strict=True)):
        if computed not in (None, told) and index not in outside:
            what = f"hash of transaction {index}"
            raise differs("TRANSACTION_HASH_MISMATCH", header, what, told, computed)
