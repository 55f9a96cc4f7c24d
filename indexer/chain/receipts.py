"""Receipts from columns to the bytes under receiptsRoot, and the bloom filter over their logs, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_

import orjson

from indexer.chain import rlp
from indexer.chain.bloom import BITS, to_bytes
from indexer.chain.errors import malformed
from indexer.chain.rare_transactions import number
from indexer.chain.rlp import INTEGER, LIST_PREFIX, STRING_PREFIX
from indexer.chain.rules import DEPOSIT_TYPE
from indexer.records import Logs, Transactions

_BLOOM = b"\xb9\x01\x00"  # the prefix of a string of 256 bytes
_NO_LOGS = _BLOOM + bytes(256) + rlp.EMPTY_LIST
_TOPIC = b"\xa0"
_TOPIC_LISTS = tuple(rlp.list_prefix(33 * count) for count in range(5))

# RPC fields of a receipt that are kept although no column holds them: first those that its encoding needs.
EXTRA_FIELDS = (
    *("depositNonce", "depositReceiptVersion"),
    *("blobGasUsed", "blobGasPrice"),
    *("l1Fee", "l1GasPrice", "l1GasUsed", "l1FeeScalar", "l1BaseFeeScalar", "l1BlobBaseFee", "l1BlobBaseFeeScalar"),
    *("operatorFeeScalar", "operatorFeeConstant", "daFootprintGasScalar"),
    *("gasUsedForL1", "l1BlockNumber"),
)


class _LogHeads(dict[int, tuple[bytes, bytes]]):
    """By length of the data: all of a log's bytes before its address, and those before its data."""

    __slots__ = ("_topics",)

    def __init__(self, topics: int) -> None:
        super().__init__()
        self._topics = topics

    def __missing__(self, length: int) -> tuple[bytes, bytes]:
        if len(self) >= rlp.TABLE:
            self.clear()
        topics = _TOPIC_LISTS[self._topics]
        data = STRING_PREFIX[length]
        payload = 21 + len(topics) + 33 * self._topics + len(data) + length
        heads = LIST_PREFIX[payload] + b"\x94", data
        self[length] = heads
        return heads


_HEADS = tuple(_LogHeads(count) for count in range(5))


def _plain_log(address: bytes, topics: tuple[bytes, ...], data: bytes) -> bytes:
    return rlp.encode([address, list(topics), data])


def encode_logs(logs: Logs) -> list[bytes]:
    """Return the RLP of each log: [address, topics, data]."""
    heads0, heads1, heads2, heads3, heads4 = _HEADS
    list1, list2, list3, list4 = (prefix + _TOPIC for prefix in _TOPIC_LISTS[1:])
    join: Callable[[tuple[bytes, ...]], bytes] = b"".join
    encoded = []
    rows = zip(logs.address, logs.topic0, logs.topic1, logs.topic2, logs.topic3, logs.data, strict=True)
    for address, t0, t1, t2, t3, data in rows:
        size = len(data)
        if size == 1:  # may have no prefix at all
            topics = tuple(topic for topic in (t0, t1, t2, t3) if topic is not None)
            encoded.append(_plain_log(address, topics, data))
        elif t3 is not None and t2 is not None and t1 is not None and t0 is not None:
            head, prefix = heads4[size]
            encoded.append(join((head, address, list4, t0, _TOPIC, t1, _TOPIC, t2, _TOPIC, t3, prefix, data)))
        elif t2 is not None and t1 is not None and t0 is not None:
            head, prefix = heads3[size]
            encoded.append(join((head, address, list3, t0, _TOPIC, t1, _TOPIC, t2, prefix, data)))
        elif t1 is not None and t0 is not None:
            head, prefix = heads2[size]
            encoded.append(join((head, address, list2, t0, _TOPIC, t1, prefix, data)))
        elif t0 is not None:
            head, prefix = heads1[size]
            encoded.append(join((head, address, list1, t0, prefix, data)))
        else:
            head, prefix = heads0[size]
            encoded.append(join((head, address, rlp.EMPTY_LIST, prefix, data)))
    return encoded


def log_blooms(logs: Logs) -> list[int]:
    """Return the bloom bits of each log."""
    bits = BITS
    return [
        bits[address] | bits[t0] | bits[t1] | bits[t2] | bits[t3]
        for address, t0, t1, t2, t3 in zip(
            *(logs.address, logs.topic0, logs.topic1, logs.topic2, logs.topic3), strict=True
        )
    ]


_OUTCOMES: dict[tuple[int | None, bytes | None], bytes] = {(1, None): b"\x01", (0, None): b"\x80"}


def _root_for_status(status: int | None, root: bytes | None) -> bytes:
    """Return the state's root, before Byzantium; of what no receipt can have nothing, which no receipts root covers."""
    return rlp.string(root) if status is None and root else b""


def encode_receipts(transactions: Transactions, logs: Logs) -> tuple[list[bytes], list[int]]:
    """Return the consensus encoding and the bloom bits of each transaction's receipt."""
    t = transactions
    counts = [0] * len(t.hash)
    for index in logs.transaction_index:
        counts[index] += 1
    encoded_logs, bits_of_logs = encode_logs(logs), log_blooms(logs)
    encoded, blooms, start = [], [], 0
    rows = zip(
        *(t.type, t.receipt_status, t.receipt_root, t.receipt_cumulative_gas_used, t.receipt_extra, counts),
        strict=True,
    )
    for kind, status, root, cumulative, extra, count in rows:
        outcome = _OUTCOMES.get((status, root)) or _root_for_status(status, root)
        end = start + count
        if count:
            bits = reduce(or_, bits_of_logs[start:end])
            body = b"".join(encoded_logs[start:end])
            payload = b"".join((outcome, INTEGER[cumulative], _BLOOM, to_bytes(bits), LIST_PREFIX[len(body)], body))
        else:
            bits = 0
            payload = b"".join((outcome, INTEGER[cumulative], _NO_LOGS))
        if kind == DEPOSIT_TYPE and extra is not None:
            payload += deposit_fields(extra)
        start = end
        blooms.append(bits)
        envelope = LIST_PREFIX[len(payload)] + payload
        encoded.append(bytes((kind,)) + envelope if kind else envelope)
    return encoded, blooms


def deposit_fields(extra: str) -> bytes:
    """Return what a deposit's receipt has besides the usual: nonce and version, both since Canyon, else none."""
    fields = load_extra(extra)
    if "depositReceiptVersion" not in fields:
        return b""
    return rlp.integer(fields.get("depositNonce", 0)) + rlp.integer(fields["depositReceiptVersion"])


def deposit_nonce(extra: str | None) -> int | None:
    """Return the nonce that a deposit's sender had (since Regolith), for the address of a created contract."""
    return None if extra is None else load_extra(extra).get("depositNonce")


def load_extra(extra: str) -> dict[str, int]:
    """Return the deposit fields of `receipt_extra` as numbers."""
    try:
        fields = orjson.loads(extra)
        return {name: number(fields[name]) for name in EXTRA_FIELDS[:2] if name in fields}
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise malformed("depositNonce or depositReceiptVersion of a receipt is not a number") from error
