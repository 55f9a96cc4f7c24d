"""Transactions from columns to the bytes that are hashed (EIP-2718 envelopes)."""

from __future__ import annotations

from indexer.chain import rlp
from indexer.chain.rare_transactions import encode_rare
from indexer.chain.rlp import INTEGER, LIST_PREFIX, STRING_PREFIX
from indexer.chain.rules import ChainRules
from indexer.records import Transactions

_FULL_WORD = 1 << 248  # signatures at least this large take 32 bytes, which is nearly all
_ENVELOPE = [bytes((number,)) for number in range(256)]


def encode_transactions(transactions: Transactions, chain: ChainRules) -> list[bytes | None]:
    """Return the consensus encoding of each transaction; None for types that cannot be encoded from an answer."""
    bodies = _bodies(transactions, chain)
    encoded: list[bytes | None] = []
    for kind, body, v, r, s in zip(
        transactions.type, bodies, transactions.v, transactions.r, transactions.s, strict=True
    ):
        if kind > 4:
            encoded.append(body)
            continue
        payload = b"".join(
            (
                body or b"",
                INTEGER[v],
                b"\xa0" + r.to_bytes(32, "big") if r >= _FULL_WORD else rlp.integer(r),
                b"\xa0" + s.to_bytes(32, "big") if s >= _FULL_WORD else rlp.integer(s),
            )
        )
        envelope = LIST_PREFIX[len(payload)] + payload
        encoded.append(_ENVELOPE[kind] + envelope if kind else envelope)
    return encoded


def _bodies(transactions: Transactions, chain: ChainRules) -> list[bytes | None]:
    """Return the items before the signature (types 0 to 4), or the whole envelope (other types)."""
    t = transactions
    own_chain = INTEGER[chain.chain_id]
    integers, prefixes = INTEGER, STRING_PREFIX
    bodies: list[bytes | None] = []
    rows = zip(
        t.type,
        *(t.nonce, t.gas_price, t.max_priority_fee_per_gas, t.max_fee_per_gas, t.gas),
        *(t.to_address, t.value, t.input, t.extra),
        range(len(t.type)),
        strict=True,
    )
    for kind, nonce, price, tip, cap, gas, to, value, data, extra, index in rows:
        size = len(data)
        tail = (
            integers[gas],
            b"\x80" if to is None else b"\x94" + to,
            integers[value],
            b"" if size == 1 and data[0] < 0x80 else prefixes[size],
            data,
        )
        if kind == 0:
            bodies.append(b"".join((integers[nonce], integers[price], *tail)))
        elif kind == 2 and extra is None and tip is not None and cap is not None:
            bodies.append(b"".join((own_chain, integers[nonce], integers[tip], integers[cap], *tail, b"\xc0")))
        else:
            bodies.append(encode_rare(t, index, b"".join(tail), chain))
    return bodies


def signing_payload(transactions: Transactions, index: int, chain: ChainRules) -> bytes:
    """Return the bytes whose hash the sender of transaction `index` (types 0 to 4) has signed."""
    one = slice_of(transactions, index)
    body = _bodies(one, chain)[0] or b""
    kind, v = one.type[0], one.v[0]
    if kind:
        return _ENVELOPE[kind] + rlp.sequence(body)
    if v < 35:
        return rlp.sequence(body)
    return rlp.sequence(body, rlp.integer((v - 35) >> 1), b"\x80\x80")  # EIP-155


def slice_of(transactions: Transactions, index: int) -> Transactions:
    """Return the one transaction, without its receipt."""
    names = (
        *("hash", "type", "nonce", "from_address", "to_address", "value", "gas", "gas_price", "max_fee_per_gas"),
        *("max_priority_fee_per_gas", "input", "v", "r", "s", "extra"),
    )
    return Transactions(**{name: [getattr(transactions, name)[index]] for name in names})
