"""What the execution of a block left behind (receipts and logs), against header and transactions."""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from itertools import accumulate
from operator import or_

from indexer.chain.bloom import to_bytes
from indexer.chain.errors import differs, refused
from indexer.chain.keccak import keccak256
from indexer.chain.receipts import deposit_nonce, encode_receipts
from indexer.chain.rlp import INTEGER, sequence
from indexer.chain.rules import DEPOSIT_TYPE, STATE_SYNC_TYPE, ChainRules, Family
from indexer.chain.trie import ordered_root
from indexer.records import Header, Logs, Proof, Transactions

_CHECKS = Proof.GAS_USED | Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM
_CHECKS |= Proof.CONTRACT_ADDRESSES | Proof.EFFECTIVE_GAS_PRICE
_SIGNED = frozenset(range(5))
_WITHOUT_FEE = (DEPOSIT_TYPE, STATE_SYNC_TYPE)


def verify_receipts(header: Header, transactions: Transactions, logs: Logs, chain: ChainRules) -> Proof:
    """Recompute all that covers a block's receipts and logs; return what was found equal."""
    proven = chain.applicable(header) & _CHECKS
    outside = chain.outside_of_roots(header, transactions)
    if any(map(chain.is_opaque, set(transactions.type) - _SIGNED)):
        proven &= ~Proof.CONTRACT_ADDRESSES
        if chain.family is Family.UNKNOWN:  # receipts of a type that we do not know may have fields of their own
            proven &= ~Proof.RECEIPTS_ROOT
    if Proof.GAS_USED in proven:
        _check_gas(header, transactions, outside)
    if Proof.LOGS_BLOOM in proven:
        _check_roots(header, transactions, logs, outside, Proof.RECEIPTS_ROOT in proven)
    if Proof.CONTRACT_ADDRESSES in proven:
        _check_created(header, transactions)
    if Proof.EFFECTIVE_GAS_PRICE in proven and not _prices_are_told(header, transactions, outside):
        proven &= ~Proof.EFFECTIVE_GAS_PRICE
    return proven


def _check_gas(header: Header, transactions: Transactions, outside: Collection[int]) -> None:
    used, cumulative = transactions.receipt_gas_used, transactions.receipt_cumulative_gas_used
    if outside:
        used = [gas for i, gas in enumerate(used) if i not in outside]
        cumulative = [gas for i, gas in enumerate(cumulative) if i not in outside]
    if list(accumulate(used)) != cumulative:
        raise refused("GAS_USED_MISMATCH", header, "gas used of the receipts does not add up to the cumulative gas")
    total = cumulative[-1] if cumulative else 0
    if total != header.gas_used:
        raise refused("GAS_USED_MISMATCH", header, f"receipts used {total} gas, the header says {header.gas_used}")


def _check_roots(
    header: Header, transactions: Transactions, logs: Logs, outside: Collection[int], with_root: bool
) -> None:
    encoded, blooms = encode_receipts(transactions, logs)
    if outside:
        encoded = [item for i, item in enumerate(encoded) if i not in outside]
        blooms = [bits for i, bits in enumerate(blooms) if i not in outside]
    if with_root:
        root = ordered_root(encoded)
        if root != header.receipts_root:
            raise differs("RECEIPTS_ROOT_MISMATCH", header, "root of the receipts", header.receipts_root, root)
    if to_bytes(reduce(or_, blooms, 0)) != header.logs_bloom:
        raise refused("LOGS_BLOOM_MISMATCH", header, "the bloom filter of the logs is not the header's")


def _check_created(header: Header, transactions: Transactions) -> None:
    """Check the addresses of created contracts (Yellow Paper 7: sender and nonce).

    Some clients leave the address out when the creation failed; where the receipt does not say whether it did
    (before Byzantium), a missing address is accepted too.
    """
    created = transactions.receipt_contract_address
    if None not in transactions.to_address and not any(created):
        return
    for index, (to, told) in enumerate(zip(transactions.to_address, created, strict=True)):
        is_told = told is not None or transactions.receipt_status[index] == 1
        computed = _created_address(transactions, index) if to is None and is_told else None
        if told != computed:
            what = f"contract address of transaction {index}"
            raise differs("CONTRACT_ADDRESS_MISMATCH", header, what, told, computed)


def _created_address(transactions: Transactions, index: int) -> bytes:
    nonce = transactions.nonce[index]
    if transactions.type[index] == DEPOSIT_TYPE:
        told = deposit_nonce(transactions.receipt_extra[index])
        nonce = nonce if told is None else told
    return keccak256(sequence(b"\x94" + transactions.from_address[index], INTEGER[nonce]))[12:]


def _prices_are_told(header: Header, transactions: Transactions, outside: Collection[int]) -> bool:
    """Check the prices paid: gasPrice, or with EIP-1559 base fee and tip up to the cap; False if one is missing."""
    t, base_fee = transactions, header.base_fee_per_gas or 0
    computed = [
        price if kind < 2 else min(cap or 0, base_fee + (tip or 0))
        for kind, price, cap, tip in zip(
            *(t.type, t.gas_price, t.max_fee_per_gas, t.max_priority_fee_per_gas), strict=True
        )
    ]
    told = t.receipt_effective_gas_price
    if computed == told:
        return True
    for index, (price, paid) in enumerate(zip(computed, told, strict=True)):
        free = index in outside or t.type[index] in _WITHOUT_FEE
        if paid is not None and paid != price and not free:
            what = f"transaction {index} paid {price} a gas, its receipt says {paid}"
            raise refused("EFFECTIVE_GAS_PRICE_MISMATCH", header, what)
    return None not in told
