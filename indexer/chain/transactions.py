"""Transactions from columns to the bytes that are hashed (EIP-2718 envelopes)."""

from __future__ import annotations

from indexer.chain import rlp
from indexer.chain.rare_transactions import encode_items
from indexer.chain.rlp import INTEGER, LIST_PREFIX, STRING_PREFIX
from indexer.chain.rules import ChainRules
from indexer.records import Transactions

_FULL_WORD = 1 << 248  # signatures at least this large take 32 bytes, which is nearly all


def encode_transactions(transactions: Transactions, chain: ChainRules) -> list[bytes | None]:
    """Return the consensus encoding of each transaction; None for types that cannot be encoded from an answer."""
    t = transactions
    own_chain = INTEGER[chain.chain_id]
    integers, prefixes, lists, join = INTEGER, STRING_PREFIX, LIST_PREFIX, b"".join
    encoded: list[bytes | None] = []
    rows = zip(
        *(t.type, t.nonce, t.gas_price, t.max_priority_fee_per_gas, t.max_fee_per_gas, t.gas, t.to_address),
        *(t.value, t.input, t.v, t.r, t.s, t.extra),
        strict=True,
    )
    for kind, nonce, price, tip, cap, gas, to, value, data, v, r, s, extra in rows:
        size = len(data)
        last = (
            integers[gas],
            b"\x80" if to is None else b"\x94" + to,
            integers[value],
            b"" if size == 1 and data[0] < 0x80 else prefixes[size],
            data,
            b"\xc0" if kind else b"",  # the access list
            integers[v],
            b"\xa0" + r.to_bytes(32, "big") if r >= _FULL_WORD else rlp.integer(r),
            b"\xa0" + s.to_bytes(32, "big") if s >= _FULL_WORD else rlp.integer(s),
        )
        if kind == 0:
            payload = join((integers[nonce], integers[price], *last))
            encoded.append(lists[len(payload)] + payload)
        elif kind == 2 and extra is None and tip is not None and cap is not None:
            payload = join((own_chain, integers[nonce], integers[tip], integers[cap], *last))
            encoded.append(join((b"\x02", lists[len(payload)], payload)))
        else:
            encoded.append(_encode_rare(t, len(encoded), chain))
    return encoded


def _encode_rare(transactions: Transactions, index: int, chain: ChainRules) -> bytes | None:
    items = encode_items(transactions, index, chain)
    if items is None:
        return None
    kind = transactions.type[index]
    if kind <= 4:
        signature = (transactions.v[index], transactions.r[index], transactions.s[index])
        items += b"".join(map(rlp.integer, signature))
    return bytes((kind,)) + rlp.sequence(items)


def signing_payload(transactions: Transactions, index: int, chain: ChainRules) -> bytes:
    """Return the bytes whose hash the sender of transaction `index` (types 0 to 4) has signed."""
    items = encode_items(transactions, index, chain) or b""
    kind, v = transactions.type[index], transactions.v[index]
    if kind:
        return bytes((kind,)) + rlp.sequence(items)
    if v < 35:
        return rlp.sequence(items)
    return rlp.sequence(items, rlp.integer((v - 35) >> 1), b"\x80\x80")  # EIP-155
