"""Prove a block genuine: recompute every hash and root that its columns allow, and compare.

Works from columns, not from a node's JSON, so that the same function checks a block before it is published and rows
that come back from the database. What is proven on which chain, and what remains the node's word, is in
docs/reference/verification.md.
"""

from __future__ import annotations

from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Literal

from indexer.chain.bloom import to_bytes
from indexer.chain.errors import VerificationError, malformed
from indexer.chain.header import header_hash
from indexer.chain.keccak import hasher, keccak256
from indexer.chain.receipts import deposit_nonce, encode_receipts
from indexer.chain.rlp import INTEGER, sequence
from indexer.chain.rules import DEPOSIT_TYPE, STATE_SYNC_TYPE, ChainRules, Family
from indexer.chain.senders import is_signed, recover_sender
from indexer.chain.transactions import encode_transactions
from indexer.chain.trie import ordered_root
from indexer.records import Header, Logs, Proof, Transactions

__all__ = ["Mode", "VerificationError", "verify"]

Mode = Literal["full", "senders", "consistency"]

SENDER_SAMPLE_EVERY = 4  # recovering a sender takes 65 µs: 16 µs a block on average
_NOBODY = bytes(20)


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

    Modes: `full` proves all that the chain's rules allow and the sender of one transaction in one of
    `sender_sample_every` blocks, `senders` all senders too, `consistency` only that the columns fit each other.

    Raises VerificationError with a stable code where something differs, PoisonError MALFORMED_BLOCK where the
    columns hold what no block can.
    """
    try:
        return _verify(header, transactions, logs, chain, mode, expected_hash, sender_sample_every)
    except (TypeError, ValueError, OverflowError, IndexError, KeyError, AttributeError) as error:
        raise malformed(f"block {header.number}: columns cannot be hashed: {error!r:.120}") from error


def _verify(
    header: Header,
    transactions: Transactions,
    logs: Logs,
    chain: ChainRules,
    mode: Mode,
    expected_hash: bytes | None,
    sample_every: int,
) -> Proof:
    if expected_hash is not None and header.hash != expected_hash:
        raise _differs("UNEXPECTED_HASH", header, "block hash", expected_hash, header.hash)
    check_columns(header, transactions, logs)
    if mode == "consistency":
        return Proof.CONSISTENT
    possible = chain.applicable(header)
    done = Proof.CONSISTENT
    if Proof.HEADER_HASH in possible:
        done |= verify_header(header)
    done |= verify_transactions(header, transactions, chain)
    done |= verify_receipts(header, transactions, logs, chain)
    return done | verify_senders(header, transactions, chain, 0 if mode == "senders" else sample_every)


def check_columns(header: Header, transactions: Transactions, logs: Logs) -> None:
    """Check that rows are complete, in order, and belong to each other."""
    count = len(transactions.hash)
    receipts = len(transactions.receipt_gas_used)
    if receipts != count:
        raise _refuse("RECEIPT_COUNT_MISMATCH", header, f"{receipts} receipts for {count} transactions")
    if len(set(transactions.hash)) != count:
        raise _refuse("TRANSACTION_HASH_DISAGREES", header, "two transactions have the same hash")
    if logs.log_index != list(range(len(logs.address))):
        raise _refuse("LOG_INDEX_GAP", header, "log indexes do not count up from 0")
    owners = logs.transaction_index
    if owners and (owners != sorted(owners) or owners[0] < 0 or owners[-1] >= count):
        raise _refuse("TRANSACTION_INDEX_DISAGREES", header, "logs are not in the order of the transactions")


def verify_header(header: Header) -> Proof:
    """Recompute the block hash from the header's fields."""
    computed = header_hash(header)
    if computed != header.hash:
        raise _differs("HEADER_HASH_MISMATCH", header, "hash of the header", header.hash, computed)
    return Proof.HEADER_HASH


def verify_transactions(header: Header, transactions: Transactions, chain: ChainRules) -> Proof:
    """Recompute the hash of each transaction, and the root over all of them."""
    possible = chain.applicable(header)
    if Proof.TRANSACTIONS_ROOT not in possible:
        return Proof(0)
    encoded = encode_transactions(transactions, chain)
    outside = _outside_of_roots(header, transactions, chain)
    done = Proof(0)
    if None not in encoded and (not outside or chain.family is Family.POLYGON):
        done = Proof.TRANSACTION_HASHES
    hash_ = hasher
    hashes = [None if item is None else hash_(item).digest() for item in encoded]
    if hashes != transactions.hash:
        _compare_hashes(header, transactions, hashes, outside)
    if None in encoded:
        return done
    root = ordered_root([item for i, item in enumerate(encoded) if item is not None and i not in outside])
    if root != header.transactions_root:
        raise _differs("TRANSACTIONS_ROOT_MISMATCH", header, "root of the transactions", header.transactions_root, root)
    return done | Proof.TRANSACTIONS_ROOT


def _compare_hashes(
    header: Header, transactions: Transactions, hashes: list[bytes | None], outside: frozenset[int]
) -> None:
    for index, (claimed, computed) in enumerate(zip(transactions.hash, hashes, strict=True)):
        if computed not in (None, claimed) and index not in outside:
            raise _differs(
                *("TRANSACTION_HASH_MISMATCH", header, f"hash of transaction {index}", claimed, computed or b"")
            )


def _outside_of_roots(header: Header, transactions: Transactions, chain: ChainRules) -> frozenset[int]:
    """Return the rows that an answer lists although no root covers them.

    - Polygon before Madhugiri: the state-sync transaction, known by a hash that is made of the block's
    - HyperEVM: system transactions, known by a gas price of zero
    """
    if chain.family is Family.POLYGON:
        if _NOBODY not in transactions.from_address:
            return frozenset()
        state_sync = keccak256(b"matic-bor-receipt-" + header.number.to_bytes(8, "big") + header.hash)
        return frozenset(i for i, item in enumerate(transactions.hash) if item == state_sync)
    if chain.family is Family.HYPERLIQUID:
        return frozenset(i for i, price in enumerate(transactions.gas_price) if price == 0)
    return frozenset()


def verify_receipts(header: Header, transactions: Transactions, logs: Logs, chain: ChainRules) -> Proof:
    """Recompute all that a block's receipts and logs are covered by."""
    possible = chain.applicable(header)
    outside = _outside_of_roots(header, transactions, chain)
    opaque = any(map(chain.is_opaque, set(transactions.type) - {0, 1, 2, 3, 4}))
    done = Proof(0)
    if Proof.GAS_USED in possible:
        done |= _verify_gas(header, transactions, outside)
    if Proof.RECEIPTS_ROOT in possible:
        done |= _verify_roots(header, transactions, logs, outside, opaque and chain.family is Family.UNKNOWN)
    if Proof.CONTRACT_ADDRESSES in possible and not opaque:
        done |= _verify_created(header, transactions)
    if Proof.EFFECTIVE_GAS_PRICE in possible:
        done |= _verify_prices(header, transactions, outside)
    return done


def _verify_gas(header: Header, transactions: Transactions, outside: frozenset[int]) -> Proof:
    used, cumulative = transactions.receipt_gas_used, transactions.receipt_cumulative_gas_used
    if outside:
        used = [gas for i, gas in enumerate(used) if i not in outside]
        cumulative = [gas for i, gas in enumerate(cumulative) if i not in outside]
    if list(accumulate(used)) != cumulative:
        raise _refuse("GAS_USED_MISMATCH", header, "gas used of the receipts does not add up to the cumulative gas")
    total = cumulative[-1] if cumulative else 0
    if total != header.gas_used:
        raise _refuse("GAS_USED_MISMATCH", header, f"receipts used {total} gas, the header says {header.gas_used}")
    return Proof.GAS_USED


def _verify_roots(
    header: Header, transactions: Transactions, logs: Logs, outside: frozenset[int], unknown_receipts: bool
) -> Proof:
    encoded, blooms = encode_receipts(transactions, logs)
    if outside:
        encoded = [item for i, item in enumerate(encoded) if i not in outside]
        blooms = [bits for i, bits in enumerate(blooms) if i not in outside]
    done = Proof.LOGS_BLOOM
    if not unknown_receipts:
        root = ordered_root(encoded)
        if root != header.receipts_root:
            raise _differs("RECEIPTS_ROOT_MISMATCH", header, "root of the receipts", header.receipts_root, root)
        done |= Proof.RECEIPTS_ROOT
    if to_bytes(reduce(or_, blooms, 0)) != header.logs_bloom:
        raise _refuse("LOGS_BLOOM_MISMATCH", header, "the bloom filter of the logs is not the header's")
    return done


def _verify_created(header: Header, transactions: Transactions) -> Proof:
    """Check the addresses of created contracts (Yellow Paper 7: sender and nonce).

    Some clients leave the address out when the creation failed; where the receipt does not say whether it did
    (before Byzantium), a missing address is accepted too.
    """
    created = transactions.receipt_contract_address
    if None not in transactions.to_address and not any(created):
        return Proof.CONTRACT_ADDRESSES
    for index, (to, address) in enumerate(zip(transactions.to_address, created, strict=True)):
        if to is None and (address is not None or transactions.receipt_status[index] == 1):
            expected: bytes | None = _created_address(transactions, index)
        else:
            expected = None
        if address != expected:
            raise _differs(
                "CONTRACT_ADDRESS_MISMATCH",
                header,
                f"contract address of transaction {index}",
                address or b"",
                expected or b"",
            )
    return Proof.CONTRACT_ADDRESSES


def _created_address(transactions: Transactions, index: int) -> bytes:
    nonce = transactions.nonce[index]
    if transactions.type[index] == DEPOSIT_TYPE:
        told = deposit_nonce(transactions.receipt_extra[index])
        nonce = nonce if told is None else told
    return keccak256(sequence(b"\x94" + transactions.from_address[index], INTEGER[nonce]))[12:]


def _verify_prices(header: Header, transactions: Transactions, outside: frozenset[int]) -> Proof:
    """Check the price paid: gasPrice, or with EIP-1559 the base fee and the tip up to the cap."""
    t, base_fee = transactions, header.base_fee_per_gas or 0
    expected = [
        price if kind < 2 else min(cap or 0, base_fee + (tip or 0))
        for kind, price, cap, tip in zip(
            *(t.type, t.gas_price, t.max_fee_per_gas, t.max_priority_fee_per_gas), strict=True
        )
    ]
    told = t.receipt_effective_gas_price
    if expected == told:
        return Proof.EFFECTIVE_GAS_PRICE
    for index, (price, paid) in enumerate(zip(expected, told, strict=True)):
        free = index in outside or t.type[index] in (DEPOSIT_TYPE, STATE_SYNC_TYPE)
        if paid is not None and paid != price and not free:
            raise _refuse(
                "EFFECTIVE_GAS_PRICE_MISMATCH",
                header,
                f"transaction {index} paid {price} a gas, its receipt says {paid}",
            )
    return Proof(0) if None in told else Proof.EFFECTIVE_GAS_PRICE


def verify_senders(header: Header, transactions: Transactions, chain: ChainRules, sample_every: int) -> Proof:
    """Recover senders from signatures: all (`sample_every` 0), or one of each so-manieth block.

    Block and transaction of the sample are drawn by the block hash, so that a block gives the same result again.
    """
    if Proof.HEADER_HASH not in chain.applicable(header):
        return Proof(0)
    count = len(transactions.hash)
    if sample_every:
        if not count or int.from_bytes(header.hash[24:], "big") % sample_every:
            return Proof(0)
        start = int.from_bytes(header.hash[16:24], "big") % count
        order = [*range(start, count), *range(start)]
        chosen = [next((i for i in order if is_signed(transactions, i)), -1)]
        chosen = [] if chosen == [-1] else chosen
    else:
        chosen = [i for i in range(count) if is_signed(transactions, i)]
    for index in chosen:
        sender = recover_sender(transactions, index, chain)
        if sender != transactions.from_address[index]:
            raise _differs(
                "SENDER_MISMATCH",
                header,
                f"sender of transaction {index}",
                transactions.from_address[index],
                sender or b"",
            )
    done = Proof.SENDERS_SAMPLE if chosen else Proof(0)
    return done if sample_every else done | Proof.SENDERS


def _refuse(code: str, header: Header, what: str) -> VerificationError:
    return VerificationError(f"block {header.number}: {what}", code=code)


def _differs(code: str, header: Header, what: str, told: bytes, computed: bytes) -> VerificationError:
    return _refuse(code, header, f"{what}: told 0x{told.hex()}, computed 0x{computed.hex()}")
