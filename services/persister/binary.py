"""PostgreSQL's binary COPY format, a column at a time: rows are zipped from pieces, nothing is packed field by field.

A row is its number of fields (int16), then each field as its length (int32, -1 for NULL) and its bytes. A piece is
some of these bytes; `rows` joins one piece of every column. Measured against psycopg's `write_row` in
benchmarks/persist_speed.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from struct import Struct
from typing import Any

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
NULL = b"\xff\xff\xff\xff"
_CACHED = 1 << 12  # pieces that a cache keeps before it starts anew: unique values must not fill the memory
_SHORT = 80  # characters of a JSON text that is worth remembering

_I2, _I4 = Struct(">h"), Struct(">i")
_FIELD_I2, _FIELD_I4, _FIELD_I8 = Struct(">ih"), Struct(">ii"), Struct(">iq")
_NUMERIC = Struct(">iHhHH")  # length, digits, weight, sign, scale
_GROUPS_2, _GROUPS_4, _GROUPS_6 = (Struct(f">iHhHH{groups}H").pack for groups in (2, 4, 6))
_POSITIVE, _NEGATIVE = 0x0000, 0x4000
_OID_BYTEA, _OID_INT4 = 17, 23

Pieces = Iterable[bytes]


def rows(fields: int, constant: bytes, columns: Sequence[Pieces]) -> bytes:
    """Return rows of `fields` fields: each begins with the fields in `constant`, then takes a piece of each column."""
    start = _I2.pack(fields) + constant
    body = start.join(map(b"".join, zip(*columns, strict=True)))
    return start + body if body else b""


def one_row(pieces: Sequence[bytes]) -> bytes:
    """Return a single row, a piece per field."""
    return _I2.pack(len(pieces)) + b"".join(pieces)


def copy_stream(blocks: Iterable[bytes], chunk: int = 128 * 1024) -> Iterator[bytes]:
    """Yield a whole COPY stream in chunks of about `chunk` bytes."""
    waiting: list[bytes] = [HEADER]
    size = len(HEADER)
    for each in blocks:
        waiting.append(each)
        size += len(each)
        if size >= chunk:
            yield b"".join(waiting)
            waiting, size = [], 0
    waiting.append(TRAILER)
    yield b"".join(waiting)


# columns


def int2s(values: Iterable[int | None]) -> Pieces:
    return map(_INT2.__getitem__, values)


def int4s(values: Iterable[int]) -> Pieces:
    return map(_INT4.__getitem__, values)


def int8s(values: Iterable[int]) -> Pieces:
    return map(partial(_FIELD_I8.pack, 8), values)


def numerics(values: Iterable[int | None]) -> Pieces:
    """Amounts that repeat: prices, token ids."""
    return map(_AMOUNT.__getitem__, values)


def unique_numerics(values: Iterable[int]) -> Pieces:
    """Amounts that hardly ever repeat: a cache of them would only cost."""
    return map(numeric, values)


def blobs(values: Iterable[bytes]) -> Pieces:
    return [_LENGTH[len(value)] + value for value in values]


def maybe_blobs(values: Iterable[bytes | None]) -> Pieces:
    return [NULL if value is None else _LENGTH[len(value)] + value for value in values]


def uint256s(values: Iterable[int]) -> Pieces:
    """32 bytes each, big-endian; raises OverflowError beyond that."""
    return [b"\x00\x00\x00\x20" + value.to_bytes(32) for value in values]


def words(values: Iterable[str]) -> Pieces:
    """Texts of which there are few."""
    return map(_WORD.__getitem__, values)


def jsons(values: Iterable[str | None]) -> Pieces:
    return [_JSON[value] if value is None or len(value) < _SHORT else json_field(value) for value in values]


# single fields


def int4(value: int) -> bytes:
    return _FIELD_I4.pack(4, value)


def int8(value: int | None) -> bytes:
    return NULL if value is None else _FIELD_I8.pack(8, value)


def numeric(value: int | None) -> bytes:
    """Return an integer as `numeric`: groups of four decimal digits; the server drops leading groups of zeros."""
    if value is None:
        return NULL
    if 0 <= value < 10**8:
        return _GROUPS_2(12, 2, 1, 0, 0, value // 10_000, value % 10_000)
    if 0 < value < 10**16:
        high, low = divmod(value, 10**8)
        return _GROUPS_4(16, 4, 3, 0, 0, high // 10_000, high % 10_000, low // 10_000, low % 10_000)
    sign = _POSITIVE
    if value < 0:
        sign, value = _NEGATIVE, -value
    if value < 10**24:
        high, low = divmod(value, 10**16)
        middle, low = divmod(low, 10**8)
        return _GROUPS_6(
            20, 6, 5, sign, 0, high // 10_000, high % 10_000, middle // 10_000, middle % 10_000,
            low // 10_000, low % 10_000,
        )  # fmt: skip
    return _long_numeric(value, sign)


def _long_numeric(value: int, sign: int) -> bytes:
    groups = []
    while value:
        value, group = divmod(value, 10_000)
        groups.append(group)
    count = len(groups)
    groups.reverse()
    return _NUMERIC.pack(8 + 2 * count, count, count - 1, sign, 0) + Struct(f">{count}H").pack(*groups)


def blob(value: bytes | None) -> bytes:
    return NULL if value is None else _I4.pack(len(value)) + value


def json_field(value: str | None) -> bytes:
    """Return a JSON text as `jsonb`, which has no room for NUL characters and lone surrogates: U+FFFD for them."""
    if value is None:
        return NULL
    data = b"\x01" + (_storable(value) if "\\u" in value or "\x00" in value else value.encode())
    return _I4.pack(len(data)) + data


def json_object(value: dict[str, Any]) -> bytes:
    """Return a dictionary as `jsonb`, NULL for an empty one."""
    return json_field(json.dumps(value, separators=(",", ":"))) if value else NULL


def byte_array(values: Sequence[bytes]) -> bytes:
    return _array(_OID_BYTEA, blobs(values), len(values))


def int4_array(values: Sequence[int]) -> bytes:
    return _array(_OID_INT4, int4s(values), len(values))


def _array(oid: int, elements: Pieces, count: int) -> bytes:
    head = Struct(">iii").pack(1, 0, oid) + Struct(">ii").pack(count, 1) if count else Struct(">iii").pack(0, 0, oid)
    return blob(head + b"".join(elements))


def _storable(text: str) -> bytes:
    try:
        value = json.loads(text)
    except ValueError:
        return text.encode(errors="replace")  # the database says what is wrong with it
    return json.dumps(_without_nul(value), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if c == "\x00" or "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return value


class _Cache(dict[Any, bytes]):
    """Pieces by value, so that frequent values are packed once."""

    __slots__ = ("_pack",)

    def __init__(self, pack: Any) -> None:
        super().__init__()
        self._pack = pack

    def __missing__(self, value: Any) -> bytes:
        if len(self) >= _CACHED:
            self.clear()
        piece: bytes = self._pack(value)
        self[value] = piece
        return piece


_LENGTH = _Cache(_I4.pack)
_JSON = _Cache(lambda value: json_field(value))
_INT2 = _Cache(lambda value: NULL if value is None else _FIELD_I2.pack(2, value))
_INT4 = _Cache(int4)
_AMOUNT = _Cache(numeric)
_WORD = _Cache(lambda value: blob(value.encode()))
