"""Model files: TOML read and checked; every mistake is one line that names the file and what to change."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from indexer.abi.compile import EventDecoder, compile_event
from indexer.abi.errors import AbiError
from indexer.abi.signatures import parse_signature
from indexer.chain.keccak import keccak256
from indexer.errors import UserError

_KEYS = frozenset({"name", "version", "contracts", "abi", "events", "start_block", "wrapped_native"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_MAX_NUMBER = 2**63 - 1  # a bigint in PostgreSQL
_MAX_VERSION = 2**31 - 1  # their sum is a bigint too


@dataclass(frozen=True, slots=True)
class _File:
    """One model file; `refuse` says where a mistake is."""

    path: Path
    table: Mapping[str, object]

    def refuse(self, message: str) -> NoReturn:
        _refuse(self.path, message)


ModelFields = tuple[str, int, tuple[EventDecoder, ...], dict[bytes, int] | None, int, frozenset[bytes]]


def read_model(path: Path) -> ModelFields:
    """The fields of a Model in their order; UserError for a file that cannot be read or is not a model."""
    file = _File(path, _read_toml(path))
    unknown = sorted(set(file.table) - _KEYS)
    if unknown:
        file.refuse(f"unknown setting {unknown[0]!r} (there are {', '.join(sorted(_KEYS))})")
    name = file.table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        file.refuse("name must be letters, digits, _ . - (63 at most)")
    version = _number(file, "version", file.table.get("version", 1), least=1, most=_MAX_VERSION)
    start_block = _number(file, "start_block", file.table.get("start_block", 0), least=0)
    contracts = _contracts(file, start_block)
    events = _events(file)
    return name, version, events, contracts, start_block, _wrapped(file, contracts)


def _refuse(path: Path, message: str) -> NoReturn:
    raise UserError(f"model {path}: {' '.join(message.split())}", code="MODEL_INVALID")


def _read_text(path: Path, model: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        what = "" if path == model else f"abi {path}: "
        _refuse(model, f"{what}cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        _refuse(model, f"{path.name} is not UTF-8 text")


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(_read_text(path, path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        _refuse(path, f"is not valid TOML: {error}")


def _number(file: _File, key: str, value: object, *, least: int, most: int = _MAX_NUMBER) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        file.refuse(f"{key} must be a whole number of at least {least} and at most {most}")
    return value


def _address(file: _File, value: object) -> bytes:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        file.refuse(f"{str(value)[:60]!r} is not an address (0x and 40 hex digits)")
    if value[2:] not in (value[2:].lower(), value[2:].upper(), _checksummed(value[2:].lower())):
        file.refuse(f"{value} is mistyped: its capital letters are not those of its checksum (EIP-55)")
    return bytes.fromhex(value[2:])


def _checksummed(address: str) -> str:
    """Return 40 lower-case hex digits with the capital letters of EIP-55."""
    digest = keccak256(address.encode()).hex()
    return "".join(
        letter.upper() if int(nibble, 16) > 7 else letter for letter, nibble in zip(address, digest[:40], strict=True)
    )


def _contracts(file: _File, start_block: int) -> dict[bytes, int] | None:
    """Addresses with their start blocks, or None for any contract."""
    listed = file.table.get("contracts")
    if listed in ("*", ["*"]):
        return None
    if not isinstance(listed, list) or not listed:
        file.refuse('contracts must be a list of addresses, or "*" for any contract')
    contracts: dict[bytes, int] = {}
    for entry in listed:
        start = start_block
        if isinstance(entry, dict):
            if set(entry) - {"address", "start_block"}:
                file.refuse("a contract has address and start_block only")
            start = _number(file, "start_block", entry.get("start_block", start_block), least=0)
            entry = entry.get("address")
        address = _address(file, entry)
        if address in contracts:
            file.refuse(f"contract 0x{address.hex()} is listed twice")
        contracts[address] = start
    return contracts


def _wrapped(file: _File, contracts: dict[bytes, int] | None) -> frozenset[bytes]:
    wanted = file.table.get("wrapped_native", False)
    if wanted is True and contracts is None:
        file.refuse("wrapped_native = true needs a list of contracts, not any contract")
    if isinstance(wanted, bool):
        return frozenset(contracts or ()) if wanted else frozenset()
    if not isinstance(wanted, list):
        file.refuse("wrapped_native must be true, false or a list of addresses")
    return frozenset(_address(file, entry) for entry in wanted)


def _events(file: _File) -> tuple[EventDecoder, ...]:
    """The compiled events that the model asks for: all of its ABI but anonymous ones, unless it names them."""
    entries = _abi(file)
    wanted = file.table.get("events")
    if wanted is None:
        chosen = [entry for entry in entries if entry.get("anonymous") is not True]
    else:
        chosen = _named(file, entries, wanted)
    try:
        decoders = [compile_event(entry) for entry in chosen]
    except AbiError as error:
        file.refuse(str(error))
    if not decoders:
        file.refuse("its abi has no events")
    unique = {(decoder.topic0, decoder.indexed_count): decoder for decoder in reversed(decoders)}
    return tuple(reversed(unique.values()))


def _named(file: _File, entries: Sequence[Mapping[str, object]], wanted: object) -> list[Mapping[str, object]]:
    if not isinstance(wanted, list) or not wanted or not all(isinstance(name, str) for name in wanted):
        file.refuse("events must be a list of event names")
    known = {entry.get("name") for entry in entries}
    for name in wanted:
        if name not in known:
            names = ", ".join(sorted(str(one) for one in known)) or "none"
            file.refuse(f"its abi has no event {name!r} (it has {names[:200]})")
    return [entry for entry in entries if entry.get("name") in wanted]


def _abi(file: _File) -> list[Mapping[str, object]]:
    """The events of the ABI: a JSON file beside the model (a list, or an artifact with "abi"), or signatures."""
    abi = file.table.get("abi")
    if isinstance(abi, list) and abi and all(isinstance(line, str) for line in abi):
        try:
            return [parse_signature(line) for line in abi]
        except AbiError as error:
            file.refuse(str(error))
    if not isinstance(abi, str):
        file.refuse("abi must be the path of a JSON file or a list of event signatures")
    path = file.path.parent / abi
    try:
        document = json.loads(_read_text(path, file.path))
    except (ValueError, RecursionError) as error:
        file.refuse(f"abi {abi}: is not valid JSON: {error}")
    entries = document.get("abi") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        file.refuse(f'abi {abi}: is neither a list of ABI entries nor an artifact with one under "abi"')
    return [entry for entry in entries if entry.get("type") == "event"]
