"""The recorded blocks of real chains, and what ethereum-etl and ethers make of them (../shared/data)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.shared_data import shared_data

Row = dict[str, Any]

ETL, ETHERS = "expected/ethereum-etl-2.4.2", "expected/ethers-6"


@dataclass(frozen=True)
class RecordedChain:
    """What was recorded of one chain with receipts."""

    chain_id: int
    blocks: dict[int, Row]  # by height; `block` and `receipts` as JSON-RPC answers them, `grade`
    files: list[Path]  # where they are

    @property
    def manifest(self) -> str:
        """The heights, as `batch queue manifest` reads them."""
        return "".join(f"{number}\n" for number in sorted(self.blocks))

    def etl(self, kind: str) -> list[Row]:
        """What ethereum-etl 2.4.2 has for these blocks: blocks, transactions, receipts, logs, token_transfers."""
        height = "number" if kind == "blocks" else "block_number"
        return [row for row in self._of(f"{ETL}/*.{kind}.jsonl.gz") if row[height] in self.blocks]

    def ethers(self) -> list[Row]:
        """The token events that ethers v6 decodes; `event` is null where it refuses a log."""
        return [row for row in self._of(f"{ETHERS}/*.jsonl.gz") if row["block_number"] in self.blocks]

    def _of(self, pattern: str) -> Iterator[Row]:
        return (row for row in _lines(pattern) if row["chain_id"] == self.chain_id)


def recorded_chain(chain_id: int) -> RecordedChain:
    """The blocks of a chain that have receipts."""
    return _chain(chain_id, "blocks/*.jsonl.gz")


def tampered_chain(chain_id: int) -> RecordedChain:
    """The blocks of a chain that must be refused, those with receipts."""
    return _chain(chain_id, "negative/*.jsonl.gz")


def _chain(chain_id: int, pattern: str) -> RecordedChain:
    found = (each for each in _lines(pattern) if each["chain_id"] == chain_id and each["receipts"] is not None)
    blocks = {int(each["block"]["number"], 16): each for each in found}
    return RecordedChain(chain_id, blocks, sorted(shared_data().glob(pattern)))


@cache
def _lines(pattern: str) -> list[Row]:
    found: list[Row] = []
    for path in sorted(shared_data().glob(pattern)):
        with gzip.open(path, "rb") as text:
            found += map(json.loads, text)  # orjson would make floats of large integers
    return found
