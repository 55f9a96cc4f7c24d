"""Builders for logs, and the recorded logs with what other tools decode from them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from indexer.records import Logs
from tests.support.shared_data import shared_data

ALICE = bytes([0xA1]) * 20
BOB = bytes([0xB0]) * 20
TOKEN = bytes([0x70]) * 20
NOBODY = bytes(20)

LogKey = tuple[int, str, int]  # chain_id, block_hash, log_index


def word(value: int | bytes) -> bytes:
    """A number, or an address, as 32 bytes."""
    return value.to_bytes(32, "big") if isinstance(value, int) else value.rjust(32, b"\0")


def words(*values: int | bytes) -> bytes:
    return b"".join(map(word, values))


def a_log(*topics: bytes, data: bytes = b"", address: bytes = TOKEN, index: int = 0) -> Logs:
    return logs_of((index, address, topics, data))


def logs_of(*entries: tuple[int, bytes, Sequence[bytes], bytes]) -> Logs:
    logs = Logs()
    for index, address, topics, data in entries:
        one, two, three, four = (*topics, None, None, None, None)[:4]
        logs.log_index.append(index)
        logs.transaction_index.append(0)
        logs.address.append(address)
        logs.topic0.append(one)
        logs.topic1.append(two)
        logs.topic2.append(three)
        logs.topic3.append(four)
        logs.data.append(data)
    return logs


@cache
def recorded_logs() -> dict[LogKey, Logs]:
    """Every recorded log, as Logs of one row each."""
    return {
        (row["chain_id"], row["block_hash"], row["log_index"]): a_log(
            *map(unhex, row["topics"]),
            data=unhex(row["data"]),
            address=unhex(row["address"]),
            index=row["log_index"],
        )
        for row in _lines("ethereum-etl-2.4.2", "*.logs.jsonl.gz")
    }


@cache
def ethers_events() -> dict[LogKey, dict[str, Any]]:
    """What ethers v6 makes of them."""
    rows = _lines("ethers-6", "*.jsonl.gz")
    return {(row["chain_id"], row["block_hash"], row["log_index"]): row for row in rows}


def etl_transfers() -> list[dict[str, Any]]:
    """The token transfers of ethereum-etl, which name their transaction but not their block's hash."""
    return list(_lines("ethereum-etl-2.4.2", "*.token_transfers.jsonl.gz"))


def unhex(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _lines(folder: str, pattern: str) -> Iterator[dict[str, Any]]:
    for path in sorted((shared_data() / "expected" / folder).glob(pattern)):
        with gzip.open(path, "rt") as lines:
            yield from map(json.loads, lines)
