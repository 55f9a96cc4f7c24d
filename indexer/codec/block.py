"""DecodedBlock to the record of its Avro schema and back; the schema says the layout of every column."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

import schemas
from indexer.codec import wire
from indexer.codec.columns import Column, column, inconsistent, pack_fixed
from indexer.codec.wire import unencodable
from indexer.errors import PoisonError
from indexer.records import (
    DecodedBlock,
    DecodedEvents,
    Header,
    Logs,
    Proof,
    Reason,
    TokenTransfers,
    Transactions,
)

_STRUCTS: dict[str, type[Any]] = {
    "transactions": Transactions,
    "logs": Logs,
    "token_transfers": TokenTransfers,
    "decoded_events": DecodedEvents,
}
_PLAIN = ("chain_id", "generation", "job_id", "model_version")
_UINT256 = ("difficulty", "base_fee_per_gas", "total_difficulty")
_PACKING = (ValueError, TypeError, OverflowError, LookupError, AttributeError, struct.error)


def encode(block: DecodedBlock, packed: Mapping[str, bytes]) -> bytes:
    """Return the record of a block, with those of its structs as they are that are `packed`: encoded already.

    Raises PoisonError UNENCODABLE naming the column that does not fit.
    """
    record: dict[str, Any] = {name: getattr(block, name) for name in _PLAIN}
    record["reason"] = block.reason
    record["proofs"] = int(block.proofs)
    record["header"] = _pack_header(block.header)
    record["undecoded_logs"] = _pack_indexes(block.undecoded_logs)
    structs = _columns()
    # fastavro takes a microsecond for a field: there are some forty columns, and all of them are bytes
    parts = [wire.encode("decoded_block", record, until=next(iter(structs)))]
    for name, columns in structs.items():
        if name in packed:
            parts.append(packed[name])
            continue
        struct_ = _pack_struct(name, columns, getattr(block, name))
        parts.append(wire.number(struct_["count"]))
        for each in columns:
            data = struct_[each.name]
            parts += (wire.number(len(data)), data)
    return b"".join(parts)


def from_avro(record: dict[str, Any]) -> DecodedBlock:
    """Return the block of an Avro record; raises PoisonError INCONSISTENT_COLUMNS when columns disagree."""
    structs = {name: _unpack_struct(name, columns, record[name]) for name, columns in _columns().items()}
    return DecodedBlock(
        **{name: record[name] for name in _PLAIN},
        **structs,
        header=_unpack_header(record["header"]),
        undecoded_logs=_unpack_indexes(record["undecoded_logs"]),
        proofs=Proof(record["proofs"]),
        reason=Reason(record["reason"]),
    )


@cache
def _columns() -> dict[str, tuple[Column, ...]]:
    fields = schemas.latest("decoded_block").definition["fields"]
    types = {field["name"]: field["type"] for field in fields}
    return {
        name: tuple(column(each["name"], each["layout"]) for each in types[name]["fields"] if "layout" in each)
        for name in _STRUCTS
    }


def _pack_struct(struct_name: str, columns: tuple[Column, ...], rows: Any) -> dict[str, Any]:
    count = len(getattr(rows, columns[0].name))
    record: dict[str, Any] = {"count": count}
    for name, pack, _ in columns:
        values = getattr(rows, name)
        try:
            if len(values) != count:
                raise ValueError(f"{len(values)} rows, {columns[0].name} has {count}")
            record[name] = pack(values)
        except _PACKING as error:
            raise unencodable(f"{struct_name}.{name}", error) from error
    return record


def _unpack_struct(struct_name: str, columns: tuple[Column, ...], record: dict[str, Any]) -> Any:
    rows = record["count"]
    found = {}
    name = "count"
    try:
        # The first column is never optional: it bounds `rows` before anything is made for each of them.
        for name, _, unpack in columns:
            found[name] = unpack(record[name], rows)
    except (PoisonError, ValueError, struct.error) as error:
        raise inconsistent(f"{struct_name}.{name}: {error}") from error
    return _STRUCTS[struct_name](**found)


def _pack_header(header: Header) -> dict[str, Any]:
    record: dict[str, Any] = {name: getattr(header, name) for name in Header.__dataclass_fields__}
    name = "uncles"
    try:
        record["uncles"] = pack_fixed(header.uncles, 32)
        for name in _UINT256:
            if record[name] is not None:
                record[name] = _shortest(record[name])
    except _PACKING as error:
        raise unencodable(f"header.{name}", error) from error
    return record


def _pack_indexes(indexes: list[int]) -> bytes:
    try:
        return struct.pack(f">{len(indexes)}I", *indexes)
    except _PACKING as error:
        raise unencodable("undecoded_logs", error) from error


def _unpack_indexes(data: bytes) -> list[int]:
    if len(data) % 4:
        raise inconsistent(f"undecoded_logs: {len(data)} bytes are not whole indexes")
    return list(struct.unpack(f">{len(data) // 4}I", data))


def _shortest(number: int) -> bytes:
    if number.bit_length() > 256:
        raise ValueError("wider than 256 bits")
    return number.to_bytes((number.bit_length() + 7) // 8)


def _unpack_header(record: dict[str, Any]) -> Header:
    for name in _UINT256:
        if record[name] is not None:
            record[name] = int.from_bytes(record[name])
    uncles = record["uncles"]
    if len(uncles) % 32:
        raise inconsistent(f"header.uncles: {len(uncles)} bytes are not whole hashes")
    record["uncles"] = [uncles[start : start + 32] for start in range(0, len(uncles), 32)]
    return Header(**record)
