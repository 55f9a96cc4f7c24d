"""A node's answers (a block with its transactions, and its receipts) into our columns.

Column by column with comprehensions, because this runs for every transaction and log of a chain. Whether two
answers belong together is checked here, where both are at hand; whether they are true is `verify`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import orjson

from indexer.chain import header as header_rules
from indexer.chain import receipts as receipt_rules
from indexer.chain.agreement import Json, check_count, check_hashes, check_owners, check_place, refuse
from indexer.chain.errors import malformed
from indexer.chain.fields import (
    FIRST_TYPE_WITH_FEES,
    LONG,
    WORD,
    data_column,
    integers,
    items_of,
    octet_column,
    octets,
    optional_integer,
    optional_integers,
    optional_octet_column,
    optional_octets,
    text,
)
from indexer.chain.malformed import explain
from indexer.chain.rare_transactions import hashed_fields
from indexer.chain.rules import ChainRules, Family
from indexer.chain.withdrawals import check_withdrawals
from indexer.errors import PoisonError
from indexer.records import Header, Logs, Transactions

MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)

_ZERO = "0x0"
_COMMON_TYPES = frozenset(("0x0", "0x1", "0x2"))
_OFTEN_ABSENT = dict.fromkeys(("nonce", "gasPrice", "value", "gas", "v", "r", "s"), _ZERO)
_HAVE_NO_LIST: tuple[None, list[Json]] = (None, [])

_transaction = itemgetter(
    *("hash", "nonce", "from", "value", "gas", "gasPrice", "input", "v", "r", "s"), "transactionIndex"
)
_receipt = itemgetter("transactionHash", "transactionIndex", "gasUsed", "cumulativeGasUsed", "logs")
_log = itemgetter("address", "topics", "data", "logIndex", "transactionIndex", "transactionHash")

_RECEIPT_EXTRAS = receipt_rules.EXTRA_FIELDS
_RECEIPT_EXTRA_SET = frozenset(_RECEIPT_EXTRAS)


def parse_block(block: Json, receipts: list[Json], chain: ChainRules) -> tuple[Header, Transactions, Logs]:
    """Return the columns of `eth_getBlockBy…(…, true)` and of the receipts of its transactions, in block order.

    Raises PoisonError MALFORMED_BLOCK, naming the field, for what is no block at all, and VerificationError
    (BLOCK_HASH_DISAGREES, RECEIPT_COUNT_MISMATCH, LOG_INDEX_GAP, …) for answers that do not fit together.
    Never raises anything else, whatever the input.
    """
    try:
        header = parse_header(block, chain)
        transactions = parse_transactions(block, chain)
        return header, transactions, _parse_receipts(block, receipts, transactions)
    except PoisonError:
        raise
    except MALFORMED as error:
        raise malformed(explain(block, receipts)) from error


def parse_header(block: Json, chain: ChainRules) -> Header:
    """Return the header alone; raises as `parse_block`, but KeyError and the like for malformed content."""
    number, gas_limit, gas_used, timestamp, size = integers(
        (block["number"], block["gasLimit"], block["gasUsed"], block["timestamp"], block.get("size") or _ZERO),
        LONG,
    )
    extra = _header_extras(block)
    header = Header(
        number=number,
        hash=octets(block["hash"], 32),
        parent_hash=octets(block["parentHash"], 32),
        sha3_uncles=octets(block["sha3Uncles"], 32),
        miner=octets(block["miner"], 20),
        state_root=octets(block["stateRoot"], 32),
        transactions_root=octets(block["transactionsRoot"], 32),
        receipts_root=octets(block["receiptsRoot"], 32),
        logs_bloom=octets(block["logsBloom"], 256),
        difficulty=integers((block["difficulty"],), WORD)[0],
        gas_limit=gas_limit,
        gas_used=gas_used,
        timestamp=timestamp,
        extra_data=data_column((block["extraData"],))[0],
        size=size,
        mix_hash=optional_octets(block.get("mixHash"), 32),
        nonce=optional_octets(block.get("nonce"), 8),
        base_fee_per_gas=optional_integer(block.get("baseFeePerGas"), WORD),
        total_difficulty=optional_integer(block.get("totalDifficulty"), WORD),
        withdrawals_root=_withdrawals_root(block, extra),
        blob_gas_used=optional_integer(block.get("blobGasUsed"), LONG),
        excess_blob_gas=optional_integer(block.get("excessBlobGas"), LONG),
        extra=extra,
        uncles=[octets(item, 32) for item in items_of(block.get("uncles") or [])],
    )
    # on the OP stack the withdrawals root is a storage root since Isthmus; chains we do not know may be of its kind
    if header.withdrawals_root is not None and chain.family not in (Family.OPTIMISM, Family.UNKNOWN):
        check_withdrawals(header, block.get("withdrawals"))
    return header


def _header_extras(block: Json) -> dict[str, str]:
    extra = {name: text(block[name]) for name in header_rules.EXTRA_FIELDS if block.get(name) is not None}
    if block.get("signature") is not None and block.get("step") is not None and block.get("nonce") is None:
        # Gnosis before the merge, as OpenEthereum and Nethermind name it
        extra |= {"auraStep": text(block["step"]), "auraSeal": text(block["signature"])}
    return header_rules.hashed_extra(extra)


def _withdrawals_root(block: Json, extra: dict[str, str]) -> bytes | None:
    return optional_octets(block.get("withdrawalsRoot"), 32) if header_rules.has_withdrawals(extra) else None


def parse_transactions(block: Json, chain: ChainRules) -> Transactions:
    """Return the transactions without their receipts; raises as `parse_header`."""
    items = items_of(block["transactions"])
    if not items:
        return Transactions()
    types = [item.get("type") or _ZERO for item in items]
    if not _COMMON_TYPES.issuperset(types):
        items = [
            item if kind in _COMMON_TYPES else _OFTEN_ABSENT | item for item, kind in zip(items, types, strict=True)
        ]
    check_place(block, items, "transaction")
    rows = zip(*map(_transaction, items), strict=True)
    hashes, nonces, senders, values, gas, prices, inputs, v, r, s, indexes = map(list, rows)
    check_count(indexes, block, "TRANSACTION_INDEX_DISAGREES", "transaction")
    kinds = integers(types, 256)
    caps: list[int | None] = [None] * len(items)
    tips: list[int | None] = [None] * len(items)
    extras: list[str | None] = [None] * len(items)
    if any(kinds):
        v = [item.get("yParity") or sign if kind else sign for item, sign, kind in zip(items, v, kinds, strict=True)]
        caps, tips = (_fees(name, items, kinds) for name in ("maxFeePerGas", "maxPriorityFeePerGas"))
        extras = _transaction_extras(items, kinds, chain)
    return Transactions(
        hash=octet_column(hashes, 32),
        type=kinds,
        nonce=integers(nonces, LONG),
        from_address=octet_column(senders, 20),
        to_address=optional_octet_column([item.get("to") for item in items], 20),
        value=integers(values, WORD),
        gas=integers(gas, LONG),
        gas_price=integers(prices, WORD),
        max_fee_per_gas=caps,
        max_priority_fee_per_gas=tips,
        input=data_column(inputs),
        v=integers(v, WORD),
        r=integers(r, WORD),
        s=integers(s, WORD),
        extra=extras,
    )


def _fees(name: str, items: Sequence[Json], kinds: list[int]) -> list[int | None]:
    """Return a column of EIP-1559; some nodes fill it in for the types before, which do not have it."""
    told = [item.get(name) if kind >= FIRST_TYPE_WITH_FEES else None for item, kind in zip(items, kinds, strict=True)]
    return optional_integers(told, WORD)


def _transaction_extras(items: Sequence[Json], kinds: list[int], chain: ChainRules) -> list[str | None]:
    own = hex(chain.chain_id)
    return [
        None
        if kind == 0 or (kind <= 2 and item.get("accessList") in _HAVE_NO_LIST and item.get("chainId", own) == own)
        else transaction_extra(item, chain)
        for item, kind in zip(items, kinds, strict=True)
    ]


def transaction_extra(item: Json, chain: ChainRules) -> str | None:
    """Return the fields of a typed transaction that no column holds as compact JSON; None when it has none."""
    return _compact(hashed_fields(int(item.get("type") or _ZERO, 16), item, chain))


def receipt_extra(item: Json) -> str | None:
    """Return the fields of a receipt that no column holds as compact JSON; None when it has none."""
    return _compact({name: item[name] for name in _RECEIPT_EXTRAS if item.get(name) is not None})


def _compact(kept: Json) -> str | None:
    return orjson.dumps(kept).decode() if kept else None


def _parse_receipts(block: Json, receipts: list[Json], transactions: Transactions) -> Logs:
    """Fill in the receipt columns and return the logs."""
    t, count = transactions, len(items_of(receipts))
    if count != len(t.hash):
        raise refuse("RECEIPT_COUNT_MISMATCH", block, f"{count} receipts for {len(t.hash)} transactions")
    if not receipts:
        return Logs()
    check_place(block, receipts, "receipt")
    hashes, indexes, used, cumulative, logs = map(list, zip(*map(_receipt, receipts), strict=True))
    check_count(indexes, block, "TRANSACTION_INDEX_DISAGREES", "receipt")
    check_hashes(hashes, [item["hash"] for item in block["transactions"]], block, "receipt")
    _check_types(receipts, t, block)
    t.receipt_gas_used = integers(used, LONG)
    t.receipt_cumulative_gas_used = integers(cumulative, LONG)
    t.receipt_status = optional_integers([item.get("status") for item in receipts], 2)
    t.receipt_root = [None] * count
    if None in t.receipt_status:  # before Byzantium
        t.receipt_root = [
            octets(item["root"], 32) if status is None else None
            for item, status in zip(receipts, t.receipt_status, strict=True)
        ]
    prices = [item.get("effectiveGasPrice") for item in receipts]
    t.receipt_effective_gas_price = optional_integers(prices, WORD)
    t.receipt_contract_address = optional_octet_column([item.get("contractAddress") for item in receipts], 20)
    t.receipt_extra = [None if _RECEIPT_EXTRA_SET.isdisjoint(item) else receipt_extra(item) for item in receipts]
    return _parse_logs(block, logs, hashes)


def _parse_logs(block: Json, lists: list[list[Json]], hashes: list[str]) -> Logs:
    if set(map(type, lists)) != {list}:
        raise TypeError("logs is not a list")
    items = [item for logs in lists for item in logs]
    if not items:
        return Logs()
    check_place(block, items, "log")
    rows = zip(*map(_log, items), strict=True)
    addresses, topics, data, log_indexes, transaction_indexes, transaction_hashes = map(list, rows)
    owners = [index for index, logs in enumerate(lists) for _ in logs]
    check_count(log_indexes, block, "LOG_INDEX_GAP", "log")
    check_owners(transaction_indexes, owners, block)
    check_hashes(transaction_hashes, [hashes[owner] for owner in owners], block, "log")
    if True in [item.get("removed") for item in items]:
        raise refuse("LOG_REMOVED", block, "a log is marked as removed by a reorganisation")
    topic0, topic1, topic2, topic3 = _topic_columns(topics)
    return Logs(
        log_index=list(range(len(items))),
        transaction_index=owners,
        address=octet_column(addresses, 20),
        topic0=topic0,
        topic1=topic1,
        topic2=topic2,
        topic3=topic3,
        data=data_column(data),
    )


def _topic_columns(topics: list[list[str]]) -> list[list[bytes | None]]:
    """Return one column for each position of a topic."""
    counts = list(map(len, topics))
    if set(map(type, topics)) != {list} or max(counts) > 4:
        raise TypeError("topics is not a list of at most 4")
    padded = [(*topic, None, None, None, None)[:4] for topic in topics]
    columns = [optional_octet_column(column, 32) for column in zip(*padded, strict=True)]
    if sum(column.count(None) for column in columns) != 4 * len(topics) - sum(counts):
        raise TypeError("a topic is null")
    return columns


def _check_types(receipts: Sequence[Json], transactions: Transactions, block: Json) -> None:
    told = [item.get("type") for item in receipts]
    if None not in told and integers(told, 256) != transactions.type:
        raise refuse("TRANSACTION_TYPE_DISAGREES", block, "a receipt is of another type than its transaction")
