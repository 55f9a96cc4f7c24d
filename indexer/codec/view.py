"""Records as JSON for people: what `show` commands print and what schemas/examples contains."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum, Flag
from typing import Any

_EXACT_IN_JSON = 2**53


def to_json(value: Any) -> Any:
    """Return a record as plain JSON values: bytes as 0x…, numbers beyond 2^53 as decimal strings, flags by name."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Flag):
        return [each.name for each in type(value) if each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, int) and abs(value) > _EXACT_IN_JSON:
        return str(value)
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    return [to_json(each) for each in value] if isinstance(value, list) else value
