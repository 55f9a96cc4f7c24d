"""Column layouts: all values of a column in one `bytes` (schemas/README.md defines them, the schemas name them).

Avro costs a call for each value; a column costs one `struct` call. Everything is big-endian.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from io import BytesIO
from typing import Any, NamedTuple

from indexer.errors import PoisonError

Pack = Callable[[Any], bytes]
Unpack = Callable[[bytes, int], list[Any]]

_ALL_PRESENT, _SOME_PRESENT = b"\x01", b"\x02"
_INT_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_CACHED_ROWS = 512  # a cached format of more rows would cost more memory than it saves time


class Column(NamedTuple):
    """How one field of a struct of arrays becomes bytes and back."""

    name: str
    pack: Pack
    unpack: Unpack


def column(name: str, layout: str) -> Column:
    """Return the column for a layout as a schema names it, such as `optional uint(256)`."""
    optional, kind, argument = _parse(layout)
    pack, unpack = _codec(kind, argument)
    if optional:
        pack, unpack = partial(pack_optional, pack=pack), partial(unpack_optional, unpack=unpack)
    return Column(name, pack, unpack)


def _parse(layout: str) -> tuple[bool, str, str]:
    match = re.fullmatch(r"(optional )?(\w+)(?:\((.+)\))?", layout)
    if match is None:
        raise ValueError(f"unknown column layout {layout!r}")
    return match[1] is not None, match[2], match[3] or ""


@cache
def _codec(kind: str, argument: str) -> tuple[Pack, Unpack]:
    if kind == "fixed":
        width = int(argument)
        return partial(pack_fixed, width=width), partial(unpack_fixed, width=width)
    if kind == "uint":
        return partial(pack_uints, bits=int(argument)), unpack_uints
    if kind == "code":
        words = argument.split(", ")
        codes = {word: position for position, word in enumerate(words)}
        return partial(pack_codes, codes=codes), partial(unpack_codes, words=words)
    if kind == "blob":
        return pack_blobs, unpack_blobs
    if kind == "text":
        return pack_texts, unpack_texts
    raise ValueError(f"unknown column layout {kind!r}")


def pack_fixed(values: Sequence[bytes], width: int) -> bytes:
    """`fixed(w)`: the values one after another."""
    packed = b"".join(values)
    # One check of the sum: two wrong lengths that cancel out cannot come from parsed hashes and addresses.
    if len(packed) != len(values) * width:
        raise ValueError(f"not all values are {width} bytes long")
    return packed


def unpack_fixed(data: bytes, rows: int, width: int) -> list[bytes]:
    if rows < 0 or len(data) != rows * width:
        raise inconsistent(f"{len(data)} bytes are not {rows} values of {width}")
    if rows <= _CACHED_ROWS:
        return list(_format(width, rows).unpack(data))
    return [data[start : start + width] for start in range(0, len(data), width)]


@lru_cache(maxsize=256)
def _format(width: int, rows: int) -> struct.Struct:
    return struct.Struct(f"{width}s" * rows)


def pack_uints(values: Sequence[int], bits: int = 256) -> bytes:
    """`uint(b)`: numbers below 2^b, all as wide as the largest needs: 1, 2, 4, 8, 16 or 32 bytes."""
    if not values:
        return b""
    size = max(values).bit_length()
    if size > bits:
        raise ValueError(f"a number of {size} bits is wider than {bits}")
    if size <= 64:
        code = "B" if size <= 8 else "H" if size <= 16 else "I" if size <= 32 else "Q"
        return struct.pack(f">{len(values)}{code}", *values)
    width = 16 if size <= 128 else 32
    return b"".join([value.to_bytes(width) for value in values])


def unpack_uints(data: bytes, rows: int) -> list[int]:
    width, rest = divmod(len(data), rows) if rows > 0 else (0, len(data))
    if code := _INT_CODES.get(width):
        if not rest:
            return list(struct.unpack(f">{rows}{code}", data))
    elif width in (16, 32) and not rest:
        return list(map(int.from_bytes, unpack_fixed(data, rows, width)))
    elif rows == 0 and not data:
        return []
    raise inconsistent(f"{len(data)} bytes are not {rows} numbers of 1, 2, 4, 8, 16 or 32")


def pack_codes(values: Sequence[str], codes: dict[str, int]) -> bytes:
    """`code(a, b, …)`: a byte a row, the position of its word in the list; words are only ever added at the end."""
    return bytes(map(codes.__getitem__, values))


def unpack_codes(data: bytes, rows: int, words: list[str]) -> list[str]:
    if len(data) != rows or max(data, default=0) >= len(words):
        raise inconsistent(f"{len(data)} codes for {rows} rows, or one that is none of {', '.join(words)}")
    return list(map(words.__getitem__, data))


def pack_blobs(values: Sequence[bytes]) -> bytes:
    """`blob`: every length in 4 bytes, then the values one after another."""
    return struct.pack(f">{len(values)}I", *map(len, values)) + b"".join(values)


def unpack_blobs(data: bytes, rows: int) -> list[bytes]:
    start = 4 * rows
    if rows < 0 or len(data) < start:
        raise inconsistent(f"{len(data)} bytes cannot hold {rows} lengths")
    lengths = struct.unpack_from(f">{rows}I", data)
    if start + sum(lengths) != len(data):
        raise inconsistent(f"lengths add up to {sum(lengths)}, but {len(data) - start} bytes follow")
    values = BytesIO(data)
    values.seek(start)
    return list(map(values.read, lengths))


def pack_texts(values: Sequence[str]) -> bytes:
    """`text`: a blob of UTF-8."""
    return pack_blobs([value.encode() for value in values])


def unpack_texts(data: bytes, rows: int) -> list[str]:
    return [value.decode() for value in unpack_blobs(data, rows)]


def pack_optional(values: Sequence[Any], pack: Pack) -> bytes:
    """`optional x`: empty when no row has a value; else 1 and x of all rows, or 2, a byte a row (1: has a value)
    and x of the rows that have one."""
    present = [value for value in values if value is not None] if None in values else values
    if not present:
        return b""
    if present is values:
        return _ALL_PRESENT + pack(values)
    return _SOME_PRESENT + bytes([value is not None for value in values]) + pack(present)


def unpack_optional(data: bytes, rows: int, unpack: Unpack) -> list[Any]:
    if not data:
        return [None] * rows
    tag, body = data[:1], data[1:]
    if tag == _ALL_PRESENT:
        return unpack(body, rows)
    mask = body[:rows]
    present = mask.count(1)
    if tag != _SOME_PRESENT or present + mask.count(0) != rows:
        raise inconsistent(f"{len(data)} bytes do not say which of {rows} rows have a value")
    values = iter(unpack(body[rows:], present))
    return [next(values) if each else None for each in mask]


def inconsistent(message: str) -> PoisonError:
    """Return the error for bytes that are Avro but contradict themselves."""
    return PoisonError(message, code="INCONSISTENT_COLUMNS")
