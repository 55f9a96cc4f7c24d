"""The way back from `indexer.codec.view.to_json`: schemas/examples to records."""

from __future__ import annotations

from dataclasses import is_dataclass
from enum import Enum, Flag
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def from_json(kind: Any, value: Any) -> Any:
    """Return `value`, as to_json() shows it, as an instance of `kind`."""
    if isinstance(kind, UnionType):
        return None if value is None else from_json(get_args(kind)[0], value)
    if get_origin(kind) is list:
        return [from_json(get_args(kind)[0], each) for each in value]
    if get_origin(kind) is dict:
        return {key: from_json(get_args(kind)[1], each) for key, each in value.items()}
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: from_json(hints[name], each) for name, each in value.items()})
    return _scalar(kind, value)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is bytes:
        return bytes.fromhex(value.removeprefix("0x"))
    if issubclass(kind, Flag):
        return kind(sum(kind[name] for name in value))
    return kind(value) if issubclass(kind, Enum | int) else value
