"""Names what is wrong with an answer that could not be parsed; slow, and only called when parsing has failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_QUANTITY = re.compile(r"0x[0-9a-fA-F]+")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")

# Kinds: "#" a quantity, a number of bytes, "data" bytes of any length; "?" before it where null or absent is fine.
_HEADER: dict[str, str] = {
    **dict.fromkeys(("number", "difficulty", "gasLimit", "gasUsed", "timestamp"), "#"),
    **dict.fromkeys(("hash", "parentHash", "sha3Uncles", "stateRoot", "transactionsRoot", "receiptsRoot"), "32"),
    **{"miner": "20", "logsBloom": "256", "extraData": "data", "mixHash": "?32", "nonce": "?8"},
    **{"withdrawalsRoot": "?32", "size": "?#", "baseFeePerGas": "?#", "totalDifficulty": "?#"},
    **{"blobGasUsed": "?#", "excessBlobGas": "?#"},
}
_PLACE = {"blockHash": "32", "blockNumber": "#", "transactionIndex": "#"}
_TRANSACTION: dict[str, str] = {
    **_PLACE,
    **{"hash": "32", "type": "?#", "from": "20", "to": "?20", "input": "data"},
    **dict.fromkeys(("nonce", "value", "gas", "gasPrice", "v", "r", "s"), "#"),
    **dict.fromkeys(("maxFeePerGas", "maxPriorityFeePerGas", "yParity", "chainId"), "?#"),
}
_RECEIPT: dict[str, str] = {
    **_PLACE,
    **{"transactionHash": "32", "gasUsed": "#", "cumulativeGasUsed": "#", "status": "?#", "root": "?32"},
    **{"effectiveGasPrice": "?#", "contractAddress": "?20", "type": "?#"},
}
_LOG = {**_PLACE, "transactionHash": "32", "address": "20", "data": "data", "logIndex": "#"}


def explain(block: Any, receipts: Any) -> str:
    """Return a message that names the first field that cannot be read; never the field's content."""
    found = next(_problems(block, receipts), None)
    return found or "the block holds a value that is out of range or cannot be kept"


def _problems(block: Any, receipts: Any) -> Iterator[str]:
    yield from _fields("block", block, _HEADER)
    if not isinstance(block, dict):
        return
    yield from _each("transactions", block.get("transactions"), _TRANSACTION)
    yield from _each("receipts", receipts, _RECEIPT)
    for index, receipt in enumerate(receipts):
        where = f"receipts[{index}]"
        if receipt.get("status") is None and receipt.get("root") is None:
            yield f"{where} has neither status nor root"
        yield from _each(f"{where}.logs", receipt.get("logs"), _LOG)
        for position, log in enumerate(receipt["logs"]):
            yield from _topics(f"{where}.logs[{position}].topics", log.get("topics"))
    yield from _lists(block)


def _lists(block: dict[str, Any]) -> Iterator[str]:
    for name in ("uncles", "withdrawals"):
        value = block.get(name)
        if value is not None and not isinstance(value, list):
            yield f"{name} is not a list"
    for index, uncle in enumerate(block.get("uncles") or []):
        yield from _value(f"uncles[{index}]", uncle, "32")
    kinds = {"index": "#", "validatorIndex": "#", "address": "20", "amount": "#"}
    if block.get("withdrawals"):
        yield from _each("withdrawals", block["withdrawals"], kinds)


def _topics(where: str, topics: Any) -> Iterator[str]:
    if not isinstance(topics, list):
        yield f"{where} is not a list"
        return
    if len(topics) > 4:
        yield f"{where} has more than 4 items"
    for index, topic in enumerate(topics):
        yield from _value(f"{where}[{index}]", topic, "32")


def _each(where: str, items: Any, kinds: dict[str, str]) -> Iterator[str]:
    if not isinstance(items, list):
        yield f"{where} is not a list"
        return
    for index, item in enumerate(items):
        yield from _fields(f"{where}[{index}]", item, kinds)


def _fields(where: str, item: Any, kinds: dict[str, str]) -> Iterator[str]:
    if not isinstance(item, dict):
        yield f"{where} is not an object"
        return
    for name, kind in kinds.items():
        optional = kind[0] == "?" or (name in _SYSTEM_MAY_LACK and item.get("type") not in _SIGNED_TYPES)
        if item.get(name) is not None:
            yield from _value(f"{where}.{name}", item[name], kind.lstrip("?"))
        elif not optional:
            yield f"{where}.{name} is missing"


_SYSTEM_MAY_LACK = frozenset(("nonce", "value", "gas", "gasPrice", "v", "r", "s"))
_SIGNED_TYPES = frozenset((None, "0x0", "0x1", "0x2"))


def _value(where: str, value: Any, kind: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{where} is not a string"
    elif kind == "#":
        if not _QUANTITY.fullmatch(value):
            yield f"{where} is not a hex quantity"
        elif len(value) > 66:
            yield f"{where} is out of range"
    elif not _DATA.fullmatch(value):
        yield f"{where} is not hex"
    elif kind != "data" and len(value) != 2 + 2 * int(kind):
        yield f"{where} does not have {kind} bytes"
