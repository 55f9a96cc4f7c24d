"""ABI types as values: parsed from ABI JSON, written back in the canonical form that topic0 is the hash of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from indexer.abi.errors import AbiError

MAX_DEPTH = 12  # of arrays and tuples in each other; Solidity's own limit is the stack, far below this

_TYPE = re.compile(r"([a-z]+)(\d{0,3})((?:\[\d{0,9}\])*)")
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_ALIASES = {"uint": "uint256", "int": "int256", "byte": "bytes1"}
_PLAIN = frozenset({"address", "bool", "string", "bytes", "function", "tuple"})


@dataclass(frozen=True, slots=True)
class AbiType:
    """A type: `base`, its array dimensions in the order they are written (None: any length), tuple components."""

    base: str  # uint256, bytes32, string, tuple …
    dimensions: tuple[int | None, ...] = ()
    components: tuple[Parameter, ...] = ()

    @property
    def canonical(self) -> str:
        """The type as it stands in a signature, a tuple as its parts: `(address,uint256)[2][]`."""
        base = self.base
        if self.components:
            base = "(" + ",".join(part.type.canonical for part in self.components) + ")"
        return base + "".join("[]" if size is None else f"[{size}]" for size in self.dimensions)

    @property
    def hashed_when_indexed(self) -> bool:
        """Whether a topic holds only the Keccak hash of the value (Solidity ABI, "indexed event parameters")."""
        return bool(self.dimensions) or self.base in {"string", "bytes", "tuple"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an event or a part of a tuple; one without a name is `arg0`, `arg1` … by position."""

    name: str
    type: AbiType
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class EventAbi:
    """An event's ABI entry, checked."""

    name: str
    parameters: tuple[Parameter, ...]
    anonymous: bool

    @property
    def signature(self) -> str:
        return f"{self.name}({','.join(parameter.type.canonical for parameter in self.parameters)})"


def parse_event(entry: Mapping[str, object]) -> EventAbi:
    """Check one ABI JSON entry of type "event"; AbiError when it is not one."""
    name = entry.get("name")
    if entry.get("type", "event") != "event" or not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        raise AbiError(f"not an event with a name: {str(dict(entry))[:80]}")
    try:
        parameters = _parse_parameters(entry.get("inputs", []), depth=0)
    except AbiError as error:
        raise AbiError(f"event {name}: {error}") from error
    return EventAbi(name, parameters, entry.get("anonymous") is True)


def _parse_parameters(inputs: object, depth: int) -> tuple[Parameter, ...]:
    if not isinstance(inputs, list):
        raise AbiError("parameters are not a list")
    parameters: list[Parameter] = []
    for position, entry in enumerate(inputs):
        if not isinstance(entry, dict):
            raise AbiError(f"parameter {position} is not an object")
        name = _unique_name(entry.get("name"), position, {parameter.name for parameter in parameters})
        type_ = _parse_type(entry.get("type"), entry.get("components"), depth)
        parameters.append(Parameter(name, type_, entry.get("indexed") is True))
    return tuple(parameters)


def _unique_name(name: object, position: int, taken: set[str]) -> str:
    """The key under which a value is shown: two parameters never share one, or a value would be lost."""
    if name is None or name == "":
        name = f"arg{position}"
    if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        raise AbiError(f"parameter {position} has no valid name")
    while name in taken:
        name = f"{name}_{position}"
    return name


def _parse_type(text: object, components: object, depth: int) -> AbiType:
    match = _TYPE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise AbiError(f"unknown type {str(text)[:60]!r}")
    word, bits, brackets = match.groups()
    base = _ALIASES.get(word + bits, word + bits)
    dimensions = tuple(int(size) if size else None for size in re.findall(r"\[(\d*)\]", brackets))
    if not _is_known(base) or 0 in dimensions:
        raise AbiError(f"unknown type {match.group()!r}")
    if depth + len(dimensions) > MAX_DEPTH:
        raise AbiError(f"more than {MAX_DEPTH} arrays and tuples in each other")
    parts = () if base != "tuple" or components is None else _parse_parameters(components, depth + 1)
    return AbiType(base, dimensions, parts)


def _is_known(base: str) -> bool:
    if base in _PLAIN:
        return True
    word = base.rstrip("0123456789")
    digits = base[len(word) :]
    if not digits or digits[0] == "0":
        return False
    size = int(digits)
    return (word == "bytes" and size <= 32) or (word in {"uint", "int"} and size <= 256 and size % 8 == 0)
