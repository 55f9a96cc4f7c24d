"""Who signed a transaction: recovery of the sender from the signature (60 µs each)."""

from __future__ import annotations

from coincurve import PublicKey

from indexer.chain.errors import differs
from indexer.chain.keccak import keccak256
from indexer.chain.rules import ChainRules
from indexer.chain.transactions import signing_payload
from indexer.records import Header, Proof, Transactions


def verify_senders(header: Header, transactions: Transactions, chain: ChainRules, sample_every: int) -> Proof:
    """Recover senders from signatures: all (`sample_every` 0), or one in one of so many blocks.

    Block and transaction of the sample are drawn by the block hash, so that a block gives the same result again.
    """
    outside = chain.outside_of_roots(header, transactions)
    candidates = _candidates(header, len(transactions.hash), sample_every)
    signed = [index for index in candidates if is_signed(transactions, index) and index not in outside]
    for index in signed[:1] if sample_every else signed:
        told, computed = transactions.from_address[index], recover_sender(transactions, index, chain)
        if told != computed:
            raise differs("SENDER_MISMATCH", header, f"sender of transaction {index}", told, computed)
    sample = Proof.SENDERS_SAMPLE if signed else Proof(0)
    return sample if sample_every else sample | Proof.SENDERS


def _candidates(header: Header, count: int, sample_every: int) -> list[int]:
    """Return the transactions to look at; of a sample, the first that is signed is taken."""
    if not sample_every or not count:
        return list(range(count))
    start = draw(header, count, sample_every)
    return [] if start is None else [*range(start, count), *range(start)]


def draw(header: Header, count: int, sample_every: int) -> int | None:
    """Return the transaction from which on, and around, the sample's is looked for; None: not in this block."""
    if not count or int.from_bytes(header.hash[24:], "big") % sample_every:
        return None
    return int.from_bytes(header.hash[16:24], "big") % count


def is_signed(transactions: Transactions, index: int) -> bool:
    """Tell whether the transaction has a signature; system transactions have none."""
    return transactions.type[index] <= 4 and bool(transactions.r[index] or transactions.s[index])


def recover_sender(transactions: Transactions, index: int, chain: ChainRules) -> bytes | None:
    """Return the address that signed transaction `index`; None when the signature is none."""
    v = transactions.v[index]
    parity = v if transactions.type[index] else (v - 27 if v < 35 else (v - 35) & 1)
    digest = keccak256(signing_payload(transactions, index, chain))
    try:
        r, s = transactions.r[index].to_bytes(32, "big"), transactions.s[index].to_bytes(32, "big")
        return recover(digest, r + s + bytes((parity,)))
    except (ValueError, OverflowError):
        return None


def recover(digest: bytes, signature: bytes) -> bytes | None:
    """Return the address that signed `digest`; `signature` is r, s and which key that fits; None when it is none."""
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except ValueError:
        return None
    return keccak256(key.format(compressed=False)[1:])[12:]
