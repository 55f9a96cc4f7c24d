"""A stored block against a node's answers: every column, also those that no proof covers; pure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from indexer.audit.rows import StoredBlock, same_json
from indexer.chain.parse import parse_block
from indexer.chain.rules import ChainRules

_JSON = ("extra", "receipt_extra")


def differences(block: StoredBlock, raw_block: Any, raw_receipts: Any, rules: ChainRules) -> list[str]:
    """Return the columns that differ; raises PoisonError for answers that are no block."""
    header, transactions, logs = parse_block(raw_block, raw_receipts, rules)
    if header.hash != block.header.hash:
        return ["blocks.hash"]
    pairs = (("blocks", block.header, header), ("transactions", block.transactions, transactions),
             ("logs", block.logs, logs))  # fmt: skip
    return [
        f"{table}.{each.name}"
        for table, ours, theirs in pairs
        for each in fields(theirs)
        if _plain(each.name, getattr(ours, each.name)) != _plain(each.name, getattr(theirs, each.name))
    ]


def _plain(name: str, value: Any) -> Any:
    if name in _JSON and isinstance(value, list):
        return [None if each is None else same_json(each) for each in value]
    return value
