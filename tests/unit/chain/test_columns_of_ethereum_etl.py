"""Our columns hold what ethereum-etl 2.4.2 makes of the same blocks."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from indexer.chain.parse import parse_block, parse_header, parse_transactions
from indexer.chain.rules import rules_for
from indexer.records import Header, Logs, Transactions
from tests.support.shared_data import shared_data

FILES = (
    *("avalanche-family", "chainstorage", "ethereum-etl", "nimbus-eth1", "optimism"),
    *("pevm", "polygon-etl", "shovel", "squid-sdk"),
)

Row = dict[str, Any]
Key = tuple[int, str]


def lines(path: str) -> Iterator[Row]:
    file = shared_data() / path
    if file.exists():
        with gzip.open(file, "rt") as text:
            yield from map(json.loads, text)


def expected(name: str, kind: str) -> dict[Key, list[Row]]:
    rows: dict[Key, list[Row]] = defaultdict(list)
    for row in lines(f"expected/ethereum-etl-2.4.2/{name}.{kind}.jsonl.gz"):
        rows[row["chain_id"], row.get("block_hash") or row["hash"]].append(row)
    return rows


def ours(name: str) -> Iterator[tuple[Key, Header, Transactions, Logs | None]]:
    for item in lines(f"blocks/{name}.jsonl.gz"):
        chain = rules_for(item["chain_id"])
        key = item["chain_id"], item["block"]["hash"]
        if item["receipts"] is None:
            yield key, parse_header(item["block"], chain), parse_transactions(item["block"], chain), None
        else:
            yield key, *parse_block(item["block"], item["receipts"], chain)


def shown(value: Any) -> Any:
    return "0x" + value.hex() if isinstance(value, bytes) else value


def column(columns: object, name: str, index: int) -> Any:
    return shown(getattr(columns, name)[index])


BLOCK_COLUMNS = (
    *("number", "hash", "parent_hash", "nonce", "sha3_uncles", "logs_bloom", "transactions_root", "state_root"),
    *("receipts_root", "miner", "difficulty", "total_difficulty", "size", "extra_data", "gas_limit", "gas_used"),
    *("timestamp", "base_fee_per_gas", "withdrawals_root", "blob_gas_used", "excess_blob_gas"),
)
TRANSACTION_COLUMNS = (
    *("hash", "nonce", "from_address", "to_address", "value", "gas", "gas_price", "input"),
    *("max_fee_per_gas", "max_priority_fee_per_gas"),
)
RECEIPT_COLUMNS = (*("cumulative_gas_used", "gas_used", "contract_address", "root", "status", "effective_gas_price"),)


@pytest.mark.parametrize("name", FILES)
def test_blocks(name: str) -> None:
    theirs = expected(name, "blocks")
    for key, header, transactions, _ in ours(name):
        (row,) = theirs.pop(key)
        for field in BLOCK_COLUMNS:
            # a block that was rebuilt from other sources may lack its size: we store 0, ethereum-etl null
            assert shown(getattr(header, field)) == (row[field] or 0 if field == "size" else row[field]), field
        assert len(transactions.hash) == row["transaction_count"]
    assert not theirs


@pytest.mark.parametrize("name", FILES)
def test_transactions(name: str) -> None:
    theirs = expected(name, "transactions")
    for key, _, transactions, _ in ours(name):
        rows = sorted(theirs.pop(key, []), key=lambda row: row["transaction_index"])
        assert len(rows) == len(transactions.hash)
        for index, row in enumerate(rows):
            for field in TRANSACTION_COLUMNS:
                # deposits of the OP stack have no nonce of their own in some answers: we store 0
                told = row[field] or 0 if field == "nonce" else row[field]
                assert column(transactions, field, index) == told, field
            assert transactions.type[index] == (row["transaction_type"] or 0)
    assert not theirs


@pytest.mark.parametrize("name", FILES)
def test_receipts(name: str) -> None:
    theirs = expected(name, "receipts")
    for key, _, transactions, logs in ours(name):
        rows = sorted(theirs.pop(key, []), key=lambda row: row["transaction_index"])
        assert logs is None or len(rows) == len(transactions.hash)
        for index, row in enumerate(rows):
            for field in RECEIPT_COLUMNS:
                assert column(transactions, f"receipt_{field}", index) == row[field], field
    assert not theirs


@pytest.mark.parametrize("name", FILES)
def test_logs(name: str) -> None:
    theirs = expected(name, "logs")
    for key, _, transactions, logs in ours(name):
        rows = sorted(theirs.pop(key, []), key=lambda row: row["log_index"])
        assert logs is None or len(rows) == len(logs.address)
        for index, row in enumerate(rows):
            assert logs is not None
            topics = [column(logs, f"topic{position}", index) for position in range(4)]
            assert [topic for topic in topics if topic is not None] == row["topics"]
            for field in ("log_index", "transaction_index", "address", "data"):
                assert column(logs, field, index) == row[field], field
            assert shown(transactions.hash[row["transaction_index"]]) == row["transaction_hash"]
    assert not theirs
