"""A block as the store takes it: what decides about it, and what its rows are made of; pure.

The compiled module makes the rows at once from the record's bytes. Where it is not built, or declines (it knows usual
values only, and no error by its name), the record is decoded, and the rows are made of that when they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

import schemas
from indexer.codec import decode_record
from indexer.records import DecodedBlock, Reason, Rollback
from services.persister import binary as b
from services.persister.rows import COLUMNS, Rows, add_rows

_REASONS = tuple(Reason)
_LAYOUT = 1  # the version of decoded_block that native/src/rows/record.rs reads


@dataclass(frozen=True, slots=True)
class Pieces:
    """Rows that are made, a piece of COPY data per table."""

    record: bytes  # the record's value, which has the transfers
    rows: int
    pieces: tuple[bytes, ...]  # in the order of COLUMNS; that of `blocks` lacks generation and model_version


@dataclass(slots=True)
class PackedBlock:
    """What the store has to know of a block, and its content."""

    chain_id: int
    number: int
    hash: bytes
    generation: int  # which a repeat of the block may raise
    job_id: int | None
    reason: Reason
    model_version: int
    content: Pieces | DecodedBlock


def read(value: bytes, native: ModuleType | None) -> PackedBlock | Rollback:
    """Return what a record of `blocks.decoded` carries; `native` is the compiled module.

    Raises PoisonError NOT_AVRO, UNKNOWN_SCHEMA_ID or INCONSISTENT_COLUMNS.
    """
    found = None if native is None else _by_native(value, native)
    if found is not None:
        return found
    decoded = decode_record(value)
    return decoded if isinstance(decoded, Rollback) else packed(decoded)


def packed(block: DecodedBlock) -> PackedBlock:
    """Return a block whose rows are made later."""
    return PackedBlock(
        block.chain_id,
        block.header.number,
        block.header.hash,
        block.generation,
        block.job_id,
        block.reason,
        block.model_version,
        block,
    )


def rows_of(blocks: Iterable[PackedBlock]) -> Rows:
    """Return the rows of all blocks; raises BlockRefusedError."""
    rows = Rows()
    for block in blocks:
        if isinstance(block.content, DecodedBlock):
            block.content.generation = block.generation
            add_rows(rows, block.content)
        else:
            _add_pieces(rows, block, block.content)
    return rows


def _add_pieces(rows: Rows, block: PackedBlock, content: Pieces) -> None:
    header, *others = content.pieces
    ending = b.int8(block.generation) + b.int8(block.model_version)
    for table, piece in zip(COLUMNS, (header + ending, *others), strict=True):
        if piece:
            rows.tables[table].append(piece)
    rows.count += content.rows


def _by_native(value: bytes, native: ModuleType) -> PackedBlock | None:
    found = native.pack_block(value) if value.startswith(_PREFIX) else None
    if found is None:
        return None
    (chain_id, number, hash_, generation, job_id, reason, version), rows, pieces = found
    content = Pieces(value, rows, pieces)
    return PackedBlock(chain_id, number, hash_, generation, job_id, _REASONS[reason], version, content)


def _prefix() -> bytes:
    """Return how a record begins that the compiled module may read: a newer schema has columns unknown to it."""
    newest = schemas.latest("decoded_block")
    return b"\x00" + newest.id.to_bytes(4) if newest.version == _LAYOUT else b"no record begins so"


_PREFIX = _prefix()
