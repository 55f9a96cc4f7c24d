"""The answers that have to be made: errors, altered blocks, balances and logs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from devchain.store import Store

_BALANCE_OF = bytes.fromhex("70a08231")
_BALANCE_OF_1155 = bytes.fromhex("00fdd58e")


class RpcError(Exception):
    """A JSON-RPC error object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def failure(call_id: Any, error: RpcError) -> bytes:
    """A JSON-RPC answer that carries an error."""
    shown = {"code": error.code, "message": error.message}
    return orjson.dumps({"jsonrpc": "2.0", "id": call_id, "error": shown})


def without_transactions(block: bytes) -> bytes:
    """The block with transaction hashes only."""
    parsed = orjson.loads(block)
    parsed["transactions"] = [transaction["hash"] for transaction in parsed["transactions"]]
    return orjson.dumps(parsed)


def altered_header(block: bytes, name: str) -> bytes:
    """The block with another last digit in one of its header fields."""
    parsed = orjson.loads(block)
    if isinstance(parsed.get(name), str):
        parsed[name] = _altered(parsed[name])
    return orjson.dumps(parsed)


def _altered(digits: str) -> str:
    return digits[:-1] + ("1" if digits[-1] == "0" else "0")


def altered_log(receipts: bytes) -> bytes:
    """The receipts with another last digit in the first log: in its data, or its last topic where it has none."""
    parsed = orjson.loads(receipts)
    log = next((log for receipt in parsed for log in receipt["logs"]), None)
    if log is not None and len(log["data"]) > 2:
        log["data"] = _altered(log["data"])
    elif log is not None:
        log["topics"][-1] = _altered(log["topics"][-1])
    return orjson.dumps(parsed)


def dropped_log(receipts: bytes) -> bytes:
    """The receipts without their first log; the others keep their indexes."""
    parsed = orjson.loads(receipts)
    logs = next((receipt["logs"] for receipt in parsed if receipt["logs"]), None)
    if logs is not None:
        logs.pop(0)
    return orjson.dumps(parsed)


def balance_call(store: Store, call: dict[str, Any], height: int) -> bytes:
    """`balanceOf` of ERC-20, ERC-721 and ERC-1155; "0x" for every other call, as without code."""
    data = bytes.fromhex((call.get("input") or call.get("data") or "0x")[2:])
    token, selector = bytes.fromhex(call["to"][2:]), data[:4]
    token_id: int | None = None
    if selector == _BALANCE_OF_1155 and len(data) == 68:
        token_id = int.from_bytes(data[36:], "big")
    elif selector != _BALANCE_OF or len(data) != 36:
        return b'"0x"'
    balance = store.balance(token, data[16:36], token_id, height)
    return b'"0x"' if balance is None else b'"0x%064x"' % balance


def matching_logs(receipts: Iterable[bytes], wanted: dict[str, Any]) -> bytes:
    """The logs that fit a filter's address and topics."""
    addresses = wanted.get("address") or []
    among = {a.lower() for a in ([addresses] if isinstance(addresses, str) else addresses)}
    topics = wanted.get("topics") or []
    return orjson.dumps(
        [
            log
            for block in receipts
            for receipt in orjson.loads(block)
            for log in receipt["logs"]
            if (not among or log["address"] in among) and _topics_fit(log["topics"], topics)
        ]
    )


def _topics_fit(topics: list[str], wanted: list[Any]) -> bool:
    if len(topics) < len(wanted):
        return False
    return all(
        want is None or topic in ([want] if isinstance(want, str) else want)
        for topic, want in zip(topics, wanted, strict=False)
    )
