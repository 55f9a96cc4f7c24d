"""RLP (Yellow Paper, appendix B), written for encoding millions of similar items.

Only encoding is needed: nothing that a node sends is RLP. Prefixes of short payloads and encodings of repeated
integers come from tables, because building them anew is most of the cost of an item.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Item: TypeAlias = "bytes | int | list[Item]"

TABLE = 4096  # payloads up to this length take their prefix from a table
CACHED_INTEGERS = 1 << 15
EMPTY_STRING = b"\x80"
EMPTY_LIST = b"\xc0"


def _prefix(length: int, short: int) -> bytes:
    """Return the prefix of a payload; `short` is 0x80 for strings, 0xc0 for lists."""
    if length < 56:
        return bytes((short + length,))
    size = (length.bit_length() + 7) >> 3
    return bytes((short + 55 + size,)) + length.to_bytes(size, "big")


class Cache(dict[int, bytes]):
    """A dict that computes what it lacks, and starts again when it holds `limit` entries."""

    __slots__ = ("_compute", "_limit")

    def __init__(self, compute: Callable[[int], bytes], limit: int) -> None:
        super().__init__()
        self._compute = compute
        self._limit = limit

    def __missing__(self, key: int) -> bytes:
        if len(self) >= self._limit:
            self.clear()
        value = self._compute(key)
        self[key] = value
        return value


def string_prefix(length: int) -> bytes:
    """Return the prefix of a string of `length` bytes (not for single bytes below 0x80: they have none)."""
    return _prefix(length, 0x80)


def list_prefix(length: int) -> bytes:
    """Return the prefix of a list whose encoded items are `length` bytes long."""
    return _prefix(length, 0xC0)


def integer(value: int) -> bytes:
    """Return the encoding of a non-negative integer: big-endian, no leading zeros."""
    if 0 < value < 128:
        return bytes((value,))
    size = (value.bit_length() + 7) >> 3
    return _prefix(size, 0x80) + value.to_bytes(size, "big")


STRING_PREFIX = Cache(string_prefix, TABLE)
LIST_PREFIX = Cache(list_prefix, TABLE)
INTEGER = Cache(integer, CACHED_INTEGERS)  # nonces, prices and limits repeat a lot


def string(value: bytes) -> bytes:
    """Return the encoding of a byte string."""
    if len(value) == 1 and value[0] < 0x80:
        return value
    return STRING_PREFIX[len(value)] + value


def sequence(*encoded: bytes) -> bytes:
    """Return the list of items that are encoded already."""
    payload = b"".join(encoded)
    return LIST_PREFIX[len(payload)] + payload


def encode(item: Item) -> bytes:
    """Return the encoding of any nesting of lists, byte strings and integers."""
    if isinstance(item, list):
        return sequence(*[encode(child) for child in item])
    return integer(item) if isinstance(item, int) else string(item)
