"""What becomes of a record of `blocks.decoded`, by compiled code or by Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

from indexer.errors import PoisonError
from indexer.records import TokenTransfers
from services.persister.ledger import Ledger
from services.persister.packed import PackedBlock, Pieces, read, rows_of


def outcome(value: bytes, native: ModuleType | None) -> object:
    """All that the store makes of a record, or why it makes nothing of it."""
    try:
        block = read(value, native)
        if not isinstance(block, PackedBlock):
            return block
        rows, ledger = rows_of([block]), Ledger(native)
        ledger.add(block)
        tables = {table: b"".join(pieces) for table, pieces in rows.tables.items()}
        return replace(block, content=Pieces(b"", 0, ())), rows.count, tables, ledger.rows()
    except PoisonError as error:
        return error.code, str(error)


def is_taken(value: bytes, native: ModuleType) -> bool:
    """Whether the compiled code makes the rows."""
    block = read(value, native)
    return isinstance(block, PackedBlock) and isinstance(block.content, Pieces)


def changes(moves: Sequence[TokenTransfers], native: ModuleType | None) -> bytes:
    ledger = Ledger(native)
    for each in moves:
        ledger.move(each)
    return ledger.rows()
