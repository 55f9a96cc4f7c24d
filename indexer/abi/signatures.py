"""Human-readable event signatures, `event Transfer(address indexed from, …)`, read into ABI JSON entries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexer.abi.errors import AbiError

_TOKEN = re.compile(r"\s*([A-Za-z_$][A-Za-z0-9_$]*|[(),]|(?:\[\d*\])+)")
_NOT_NAMES = frozenset({"indexed", "payable", "memory", "calldata", "storage"})


def parse_signature(text: str) -> dict[str, object]:
    """Read one event, with or without the word `event`, parameter names and a final semicolon.

    Tuples are written `(uint256 a, address b)` or `tuple(uint256 a, address b)`. AbiError when it is no event.
    """
    tokens = list(_tokens(text))
    if tokens[:1] == ["event"]:
        tokens = tokens[1:]
    anonymous = tokens[-1:] == ["anonymous"]
    if anonymous:
        tokens = tokens[:-1]
    if len(tokens) < 3 or not _is_word(tokens[0]) or tokens[1] != "(":
        raise AbiError(f"not an event signature: {text[:80]!r}")
    inputs, rest = _parameters(tokens, 2)
    if rest != len(tokens):
        raise AbiError(f"unexpected {tokens[rest]!r} after the parameters of {tokens[0]}")
    return {"type": "event", "name": tokens[0], "inputs": inputs, "anonymous": anonymous}


def _tokens(text: str) -> Iterator[str]:
    text = text.strip().removesuffix(";").rstrip()
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise AbiError(f"unexpected {text[at : at + 10].strip()!r} in event signature {text[:80]!r}")
        yield match.group(1)
        at = match.end()


def _parameters(tokens: list[str], at: int) -> tuple[list[dict[str, object]], int]:
    """Read parameters up to the closing bracket; `at` is the place after the opening one."""
    parameters: list[dict[str, object]] = []
    if tokens[at : at + 1] == [")"]:
        return parameters, at + 1
    while True:
        parameter, at = _parameter(tokens, at)
        parameters.append(parameter)
        end = tokens[at] if at < len(tokens) else "end"
        at += 1
        if end == ")":
            return parameters, at
        if end != ",":
            raise AbiError(f"expected , or ) after parameter {len(parameters)}, found {end!r}")


def _parameter(tokens: list[str], at: int) -> tuple[dict[str, object], int]:
    parameter, at = _type(tokens, at)
    parameter["indexed"] = False
    parameter["name"] = ""
    while at < len(tokens) and _is_word(tokens[at]):
        if tokens[at] == "indexed":
            parameter["indexed"] = True
        elif tokens[at] not in _NOT_NAMES and parameter["name"] == "":
            parameter["name"] = tokens[at]
        elif tokens[at] not in _NOT_NAMES:
            raise AbiError(f"unexpected {tokens[at]!r} after parameter {parameter['name']}")
        at += 1
    return parameter, at


def _type(tokens: list[str], at: int) -> tuple[dict[str, object], int]:
    parameter: dict[str, object] = {}
    type_ = "tuple"
    if at < len(tokens) and _is_word(tokens[at]):
        type_ = tokens[at]
        at += 1
    elif tokens[at : at + 1] != ["("]:
        raise AbiError(f"expected a type, found {tokens[at] if at < len(tokens) else 'end'!r}")
    if type_ == "tuple" and tokens[at : at + 1] == ["("]:
        parameter["components"], at = _parameters(tokens, at + 1)
    if at < len(tokens) and tokens[at].startswith("["):
        type_ += tokens[at]
        at += 1
    return {"type": type_, **parameter}, at


def _is_word(token: str) -> bool:
    return token[0] not in "(),["
