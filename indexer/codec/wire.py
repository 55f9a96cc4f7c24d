"""Confluent's wire format around Avro: 0x00, the schema's id in 4 bytes, the body."""

from __future__ import annotations

from functools import cache, lru_cache
from io import BytesIO
from typing import Any

import fastavro

import schemas
from indexer.errors import PoisonError

_HEADER = 5


def encode(subject: str, record: dict[str, Any], until: str | None = None) -> bytes:
    """Return `record` under the newest version of `subject`; PoisonError UNENCODABLE when it does not fit.

    `until`: the field from which on the caller appends what Avro has for it.
    """
    prefix, schema = _writer(subject, until)
    out = BytesIO()
    out.write(prefix)
    try:
        fastavro.schemaless_writer(out, schema, record)
    except (ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
        raise unencodable(subject, error) from error
    return out.getvalue()


def decode(value: bytes, *subjects: str) -> tuple[str, dict[str, Any]]:
    """Return (subject, record) of a value that must belong to one of `subjects`.

    Older versions come back in the shape of the newest one. Raises PoisonError NOT_AVRO (not the wire format,
    truncated, something left over) or UNKNOWN_SCHEMA_ID, never anything else.
    """
    if len(value) < _HEADER or value[0] != 0:
        raise PoisonError(f"{len(value)} bytes are not in Confluent's wire format", code="NOT_AVRO")
    subject, writer, reader = _reader(int.from_bytes(value[1:_HEADER]))
    if subject not in subjects:
        raise PoisonError(f"a {subject} where {' or '.join(subjects)} belongs", code="UNKNOWN_SCHEMA_ID")
    body = BytesIO(value)
    body.seek(_HEADER)
    try:
        record = fastavro.schemaless_reader(body, writer, reader)
    except Exception as error:  # fastavro raises whatever the corrupted bytes lead it to
        raise PoisonError(f"not a {subject}: {type(error).__name__}: {error}", code="NOT_AVRO") from error
    if body.tell() != len(value):
        raise PoisonError(f"{len(value) - body.tell()} bytes after the end of a {subject}", code="NOT_AVRO")
    assert isinstance(record, dict)
    return subject, record


def unencodable(what: str, error: Exception) -> PoisonError:
    """Return the error for a value that its schema has no room for."""
    return PoisonError(f"{what} does not fit its schema: {error}"[:500], code="UNENCODABLE")


@lru_cache(maxsize=1 << 13)
def number(value: int) -> bytes:
    """Return what Avro has for a number that is not negative, and before as many bytes: zig-zag, 7 bits a byte."""
    rest = value << 1
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


@cache
def _writer(subject: str, until: str | None) -> tuple[bytes, Any]:
    newest = schemas.latest(subject)
    fields = newest.definition["fields"]
    names = [field["name"] for field in fields]
    definition = {**newest.definition, "fields": fields[: names.index(until) if until else None]}
    return b"\x00" + newest.id.to_bytes(4), fastavro.parse_schema(definition)


@cache
def _known(schema_id: int) -> tuple[str, Any, Any]:
    schema = schemas.by_id(schema_id)
    newest = schemas.latest(schema.subject)
    writer = fastavro.parse_schema(schema.definition)
    # Without a reader's schema fastavro skips resolution, which would cost as much again.
    reader = None if schema.version == newest.version else fastavro.parse_schema(newest.definition)
    return schema.subject, writer, reader


def _reader(schema_id: int) -> tuple[str, Any, Any]:
    try:
        return _known(schema_id)
    except KeyError:
        raise PoisonError(f"no schema has the id {schema_id}", code="UNKNOWN_SCHEMA_ID") from None
