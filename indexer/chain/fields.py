"""From JSON-RPC's hex strings to ints and bytes, a whole column at a time.

All raise ValueError, TypeError or binascii.Error (a ValueError) for what is not of the kind; `parse` turns these
into one error that names the field.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Iterable, Sequence
from typing import Any

LONG = 1 << 63  # gas, nonces, times: what Avro's long and PostgreSQL's bigint hold
WORD = 1 << 256
FIRST_TYPE_WITH_FEES = 2  # of transactions: EIP-1559


def items_of(value: Any) -> list[Any]:
    """Return a JSON list."""
    if type(value) is not list:
        raise TypeError("not a list")
    return value


def text(value: Any) -> str:
    """Return a header's own field as text; some nodes give auraStep as a number."""
    if type(value) is int:
        return hex(value)
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def integers(values: Iterable[Any], limit: int) -> list[int]:
    """Read quantities below `limit`; at least one."""
    numbers = [int(value, 16) for value in values]
    if max(numbers) >= limit or min(numbers) < 0:
        raise ValueError("out of range")
    return numbers


def optional_integers(values: list[Any], limit: int) -> list[int | None]:
    """Read quantities some of which are null."""
    missing = values.count(None)
    if missing == len(values):
        return values
    if not missing:
        return list(integers(values, limit))
    return [optional_integer(value, limit) for value in values]


def optional_integer(value: Any, limit: int) -> int | None:
    """Read one quantity or null."""
    return None if value is None else integers((value,), limit)[0]


def octets(value: Any, size: int) -> bytes:
    """Read exactly `size` bytes."""
    raw = unhexlify(value[2:])
    if len(raw) != size:
        raise ValueError("wrong length")
    return raw


def optional_octets(value: Any, size: int) -> bytes | None:
    """Read exactly `size` bytes or null."""
    return None if value is None else octets(value, size)


def octet_column(values: Iterable[Any], size: int) -> list[bytes]:
    """Read byte strings of `size` bytes each; at least one."""
    column = [unhexlify(value[2:]) for value in values]
    if set(map(len, column)) != {size}:
        raise ValueError("wrong length")
    return column


def optional_octet_column(values: Sequence[Any], size: int) -> list[bytes | None]:
    """Read byte strings of `size` bytes each, or null."""
    missing = values.count(None)
    if missing == len(values):
        return list(values)
    if not missing:
        return list(octet_column(values, size))
    return [None if value is None else octets(value, size) for value in values]


def data_column(values: Sequence[Any]) -> list[bytes]:
    """Read byte strings of any length; the only place where a missing 0x would not show in the length."""
    column = [unhexlify(value[2:]) for value in values]
    if {value[:2] for value in values} != {"0x"}:
        raise ValueError("not hex")
    return column
