"""Whether a block's stored columns hold what a decoder can have written, also where no hash would show it; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from indexer.chain.fields import FIRST_TYPE_WITH_FEES, LONG, WORD
from indexer.chain.header import has_withdrawals, hashed_extra
from indexer.chain.rare_transactions import hashed_fields
from indexer.chain.receipts import EXTRA_FIELDS as RECEIPT_FIELDS
from indexer.chain.rules import ChainRules
from indexer.errors import PoisonError
from indexer.records import Header, Logs, Transactions

Test = Callable[[Any], bool]

_UNFIT = (PoisonError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def unfit(header: Header, transactions: Transactions, logs: Logs, chain: ChainRules) -> Iterator[str]:
    """Yield the columns in which something stands that no decoder writes for such a block.

    - of another kind, size or sign than the column has: NaN, a negative number, an address of 19 bytes
    - fees of EIP-1559 in a transaction of a type before; withdrawals in a header of Avalanche's
    - a field of `extra` that the hash does not cover, or in another spelling; one of `receipt_extra` that is not kept
    - a topic after one that is missing
    """
    yield from (f"blocks.{name}" for name, fits in _HEADER.items() if not _fit(fits, (getattr(header, name),)))
    for table, columns, tests in (("transactions", transactions, _TRANSACTIONS), ("logs", logs, _LOGS)):
        yield from (f"{table}.{name}" for name, fits in tests.items() if not _fit(fits, getattr(columns, name)))
    yield from _of_header(header)
    yield from _of_types(transactions, chain)
    yield from _of_topics(logs)


def _fit(fits: Test, cells: Iterable[Any]) -> bool:
    return all(cell is None or fits(cell) for cell in cells)


def _of_header(header: Header) -> Iterator[str]:
    if not _holds(lambda: hashed_extra(header.extra) == header.extra):
        yield "blocks.extra"
    elif header.withdrawals_root is not None and not has_withdrawals(header.extra):
        yield "blocks.withdrawals_root"


def _of_types(transactions: Transactions, chain: ChainRules) -> Iterator[str]:
    t = transactions
    for name in ("max_fee_per_gas", "max_priority_fee_per_gas"):
        fees = zip(getattr(t, name), t.type, strict=True)
        if any(fee is not None and 0 <= kind < FIRST_TYPE_WITH_FEES for fee, kind in fees):
            yield f"transactions.{name}"
    if not all(_is_hashed(kind, extra, chain) for kind, extra in zip(t.type, t.extra, strict=True)):
        yield "transactions.extra"
    if not all(map(_is_kept, t.receipt_extra)):
        yield "transactions.receipt_extra"


def _of_topics(logs: Logs) -> Iterator[str]:
    topics = (logs.topic0, logs.topic1, logs.topic2, logs.topic3)
    for place in range(1, 4):
        pairs = zip(topics[place - 1], topics[place], strict=True)
        if any(before is None and topic is not None for before, topic in pairs):
            yield f"logs.topic{place}"


def _is_hashed(kind: int, extra: str | None, chain: ChainRules) -> bool:
    if extra is None:
        return True

    def fits() -> bool:
        told = orjson.loads(extra)
        return bool(told) and hashed_fields(kind, told, chain) == told

    return _holds(fits)


def _is_kept(extra: str | None) -> bool:
    if extra is None:
        return True

    def fits() -> bool:
        told: Mapping[str, Any] = orjson.loads(extra)
        return bool(told) and told.keys() <= _RECEIPT_FIELDS and None not in told.values()

    return _holds(fits)


def _holds(test: Callable[[], bool]) -> bool:
    """Return what the test says; False where it fails for what was never written by a decoder."""
    try:
        return test()
    except _UNFIT:
        return False


def _below(limit: int) -> Test:
    return lambda cell: type(cell) is int and 0 <= cell < limit


def _bytes(size: int) -> Test:
    return lambda cell: type(cell) is bytes and len(cell) == size


def _are_hashes(cells: Any) -> bool:
    return type(cells) is list and all(map(_bytes(32), cells))


def _tests(**kinds: Sequence[str]) -> dict[str, Test]:
    return {name: _KINDS[kind] for kind, names in kinds.items() for name in names}


_RECEIPT_FIELDS = frozenset(RECEIPT_FIELDS)

_KINDS: dict[str, Test] = {
    "words": _below(WORD),
    "longs": _below(LONG),
    "types": _below(256),
    "outcomes": _below(2),
    "data": lambda cell: type(cell) is bytes,
    "hashes": _bytes(32),
    "addresses": _bytes(20),
    "blooms": _bytes(256),
    "seals": _bytes(8),
    "lists": _are_hashes,
}

_HEADER = _tests(
    words=("difficulty", "base_fee_per_gas", "total_difficulty"),
    longs=("number", "gas_limit", "gas_used", "timestamp", "size", "blob_gas_used", "excess_blob_gas"),
    hashes=(
        *("hash", "parent_hash", "sha3_uncles", "state_root", "transactions_root", "receipts_root", "mix_hash"),
        "withdrawals_root",
    ),
    addresses=("miner",),
    blooms=("logs_bloom",),
    seals=("nonce",),
    data=("extra_data",),
    lists=("uncles",),
)
_TRANSACTIONS = _tests(
    words=(
        *("value", "gas_price", "max_fee_per_gas", "max_priority_fee_per_gas", "v", "r", "s"),
        "receipt_effective_gas_price",
    ),
    longs=("nonce", "gas", "receipt_gas_used", "receipt_cumulative_gas_used"),
    types=("type",),
    outcomes=("receipt_status",),
    hashes=("hash", "receipt_root"),
    addresses=("from_address", "to_address", "receipt_contract_address"),
    data=("input",),
)
_LOGS = _tests(
    longs=("log_index", "transaction_index"),
    hashes=("topic0", "topic1", "topic2", "topic3"),
    addresses=("address",),
    data=("data",),
)
