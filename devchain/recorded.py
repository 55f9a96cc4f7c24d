"""A recorded chain: blocks as real nodes answered them, from JSON lines."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from devchain.store import Json, Place


class RecordingError(ValueError):
    """A file that holds no blocks, or none of the chain asked for."""


def read_lines(paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The records of JSON-lines files: objects with `chain_id`, `block` and `receipts` (a list or null)."""
    for path in paths:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for at, line in enumerate(lines, 1):
                try:
                    record = orjson.loads(line)
                    int(record["block"]["number"], 16)
                    yield record
                except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                    raise RecordingError(f"{path.name}, line {at}: not a recorded block ({error})") from error


class RecordedChain:
    """The recorded blocks of one chain as a `Store`; numbers between them are unknown.

    Where a height was recorded more than once, the first record with receipts counts.
    """

    def __init__(self, records: Iterable[dict[str, Any]], chain_id: int | None = None) -> None:
        self._blocks: dict[int, bytes] = {}
        self._receipts: dict[int, bytes | None] = {}
        self._numbers: dict[bytes, int] = {}
        self._places: dict[bytes, Place] = {}
        found: set[int] = set()
        for record in records:
            found.add(record["chain_id"])
            if chain_id is None or record["chain_id"] == chain_id:
                self._add(record)
        if not self._blocks or (chain_id is None and len(found) > 1):
            raise RecordingError(f"choose one of the chains {', '.join(map(str, sorted(found))) or '(none)'}")
        self.chain_id = found.pop() if chain_id is None else chain_id
        self.head = max(self._blocks)

    def _add(self, record: dict[str, Any]) -> None:
        block, receipts = record["block"], record.get("receipts")
        number = int(block["number"], 16)
        if number in self._blocks and (self._receipts[number] is not None or receipts is None):
            return
        self._blocks[number] = orjson.dumps(block)
        self._receipts[number] = None if receipts is None else orjson.dumps(receipts)
        self._numbers[bytes.fromhex(block["hash"][2:])] = number
        for index, transaction in enumerate(block["transactions"]):
            if isinstance(transaction, dict):
                self._places[bytes.fromhex(transaction["hash"][2:])] = Place(number, index)

    @property
    def numbers(self) -> list[int]:
        """The heights that are there."""
        return sorted(self._blocks)

    def block(self, number: int) -> Json | None:
        return self._blocks.get(number)

    def receipts(self, number: int) -> Json | None:
        return self._receipts.get(number)

    def number_of(self, block_hash: bytes) -> int | None:
        return self._numbers.get(block_hash)

    def transaction(self, transaction_hash: bytes) -> Place | None:
        return self._places.get(transaction_hash)

    def balance(self, token: bytes, holder: bytes, token_id: int | None, height: int) -> int | None:
        """Unknown: a recording has no state."""
        return None
