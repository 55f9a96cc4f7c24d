"""A simulated chain on disk: the answers one after the other, an index over them, and a database of lookups.

blocks.dat    for each block its JSON and that of its receipts
index.bin     for each block where they begin, their sizes and the block's hash (`_ENTRY`)
lookup.sqlite transactions by hash, balances by holding and height
chain.json    the parameters; written last, so that a folder with it is complete
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from array import array
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from devchain.ledger import holding_key
from devchain.params import ChainParams
from devchain.store import Place, Slice
from devchain.universe import COLD, FIRST_POOL, POOLS, SIGNERS, Universe, standard

_ENTRY = struct.Struct(">QII32s")
_INDEXES_PER_BLOCK = 1 << 20  # a transaction's place is packed as number * this + index
_SCHEMA = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE transactions (prefix INTEGER NOT NULL, place INTEGER NOT NULL);
    CREATE TABLE balances (holding INTEGER NOT NULL, number INTEGER NOT NULL, amount BLOB NOT NULL);
    CREATE TABLE holders (address BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE tokens (address BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""
_INDEXES = """
    CREATE INDEX transactions_by_hash ON transactions (prefix, place);
    CREATE INDEX balances_by_holding ON balances (holding, number, amount);
"""


def _prefix(transaction_hash: bytes) -> int:
    """The first eight bytes as SQLite's signed integer: enough to tell a few million transactions apart."""
    return int.from_bytes(transaction_hash[:8], "big", signed=True)


class ChainWriter:
    """Writes a chain block after block into a folder of its own."""

    def __init__(self, folder: Path, params: ChainParams) -> None:
        self._folder = folder
        self._params = params
        self._blocks = (folder / "blocks.dat").open("wb", buffering=1 << 20)
        self._index = (folder / "index.bin").open("wb", buffering=1 << 20)
        self._offset = 0
        self._lookup = sqlite3.connect(folder / "lookup.sqlite", isolation_level=None)
        self._lookup.executescript(_SCHEMA)
        self._lookup.execute("BEGIN")

    def __enter__(self) -> ChainWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.close()
        self._index.close()
        self._lookup.close()

    def append(
        self, block_hash: bytes, block_json: bytes, receipts_json: bytes, transactions: bytes, number: int
    ) -> None:
        """Add the next block; `transactions` are its transaction hashes, joined."""
        self._blocks.write(block_json)
        self._blocks.write(receipts_json)
        self._index.write(_ENTRY.pack(self._offset, len(block_json), len(receipts_json), block_hash))
        self._offset += len(block_json) + len(receipts_json)
        first = number * _INDEXES_PER_BLOCK
        self._lookup.executemany(
            "INSERT INTO transactions VALUES (?, ?)",
            [(_prefix(transactions[at : at + 8]), first + at // 32) for at in range(0, len(transactions), 32)],
        )

    def add_balances(self, number: int, balances: Mapping[int, int]) -> None:
        """Note the balances that block `number` changed."""
        self._lookup.executemany(
            "INSERT INTO balances VALUES (?, ?, ?)",
            [(key, number, amount.to_bytes((amount.bit_length() + 7) // 8, "big")) for key, amount in balances.items()],
        )

    def finish(self) -> None:
        """Complete the lookups and declare the chain whole."""
        universe = Universe(self._params)
        numbers = [*range(SIGNERS + COLD), *range(FIRST_POOL, FIRST_POOL + POOLS)]
        self._lookup.executemany(
            "INSERT INTO holders VALUES (?, ?)", [(universe.holder(number), number) for number in numbers]
        )
        tokens = [(address, number) for number, address in enumerate(universe.tokens)]
        self._lookup.executemany("INSERT INTO tokens VALUES (?, ?)", tokens)
        self._lookup.execute("COMMIT")
        self._lookup.executescript(_INDEXES)
        self._blocks.flush()
        self._index.flush()
        (self._folder / "chain.json").write_text(json.dumps(asdict(self._params), indent=1) + "\n")


class ChainFile:
    """A chain on disk, or the first blocks of it, as a `Store`."""

    def __init__(self, folder: Path, head: int | None = None) -> None:
        stored = json.loads((folder / "chain.json").read_text())
        self.params = ChainParams(**stored)
        self.chain_id = self.params.chain_id
        self.head = self.params.blocks if head is None else min(head, self.params.blocks)
        self._fd = os.open(folder / "blocks.dat", os.O_RDONLY)
        self._offsets, self._block_sizes, self._receipt_sizes = array("Q"), array("I"), array("I")
        self._hashes: list[bytes] = []
        self._read_index((folder / "index.bin").read_bytes())
        self._numbers: dict[bytes, int] = {}
        # One thread serves; the check would only stand in the way of tests that open and ask in two.
        self._lookup = sqlite3.connect(
            f"{(folder / 'lookup.sqlite').resolve().as_uri()}?mode=ro&immutable=1",
            uri=True,
            check_same_thread=False,
        )

    def _read_index(self, index: bytes) -> None:
        for at in range(0, (self.head + 1) * _ENTRY.size, _ENTRY.size):
            offset, block_size, receipts_size, block_hash = _ENTRY.unpack_from(index, at)
            self._offsets.append(offset)
            self._block_sizes.append(block_size)
            self._receipt_sizes.append(receipts_size)
            self._hashes.append(block_hash)

    def close(self) -> None:
        """Give the files back."""
        os.close(self._fd)
        self._lookup.close()

    def block(self, number: int) -> Slice | None:
        if not 0 <= number <= self.head:
            return None
        return Slice(self._fd, self._offsets[number], self._block_sizes[number])

    def receipts(self, number: int) -> Slice | None:
        if not 0 <= number <= self.head:
            return None
        offset = self._offsets[number] + self._block_sizes[number]
        return Slice(self._fd, offset, self._receipt_sizes[number])

    def block_hash(self, number: int) -> bytes:
        """The hash of a block that exists."""
        return self._hashes[number]

    def number_of(self, block_hash: bytes) -> int | None:
        if not self._numbers:
            self._numbers = {known: number for number, known in enumerate(self._hashes)}
        return self._numbers.get(block_hash)

    def transaction(self, transaction_hash: bytes) -> Place | None:
        row = self._lookup.execute(
            "SELECT place FROM transactions WHERE prefix = ?", (_prefix(transaction_hash),)
        ).fetchone()
        if row is None or row[0] // _INDEXES_PER_BLOCK > self.head:
            return None
        return Place(*divmod(row[0], _INDEXES_PER_BLOCK))

    def balance(self, token: bytes, holder: bytes, token_id: int | None, height: int) -> int | None:
        number = self._number("SELECT number FROM tokens WHERE address = ?", token)
        if number is None or (standard(number) == "erc1155") != (token_id is not None):
            return None
        who = self._number("SELECT number FROM holders WHERE address = ?", holder)
        if who is None or (token_id or 0) >= 1 << 28:
            return 0
        row = self._lookup.execute(
            "SELECT amount FROM balances WHERE holding = ? AND number <= ? ORDER BY number DESC LIMIT 1",
            (holding_key(number, who, token_id or 0), height),
        ).fetchone()
        return 0 if row is None else int.from_bytes(row[0], "big")

    def _number(self, query: str, address: bytes) -> int | None:
        row = self._lookup.execute(query, (address,)).fetchone()
        return None if row is None else int(row[0])
