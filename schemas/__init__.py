"""The contract between the services: Avro schemas with immutable ids, and the topics (`topics.toml`).

Nothing here needs a registry, a client or a network: the files are the registry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of one subject; `definition` is the parsed content of its .avsc file."""

    subject: str
    version: int
    id: int
    fingerprint: str  # hex SHA-256, see fingerprint()
    definition: dict[str, Any]


@cache
def load(subject: str, version: int) -> Schema:
    """Return a schema by subject and version; raises KeyError when ids.json does not know it."""
    entry = ids()[subject][str(version)]
    definition = json.loads((FOLDER / subject / f"{version}.avsc").read_text(encoding="utf-8"))
    return Schema(subject, version, entry["id"], entry["fingerprint"], definition)


@cache
def by_id(schema_id: int) -> Schema:
    """Return the schema with this id of the wire format; raises KeyError when there is none."""
    for subject, version in declared():
        if ids()[subject][str(version)]["id"] == schema_id:
            return load(subject, version)
    raise KeyError(schema_id)


def latest(subject: str) -> Schema:
    """Return the newest version of a subject: the one that is written."""
    return load(subject, max(int(version) for version in ids()[subject]))


def declared() -> Iterator[tuple[str, int]]:
    """Yield every (subject, version) of ids.json, versions in ascending order."""
    for subject, versions in ids().items():
        for version in sorted(map(int, versions)):
            yield subject, version


@cache
def ids() -> dict[str, dict[str, dict[str, Any]]]:
    """Return ids.json: subject → version → id and fingerprint."""
    found: dict[str, dict[str, dict[str, Any]]] = json.loads((FOLDER / "ids.json").read_text(encoding="utf-8"))
    return found


def fingerprint(definition: dict[str, Any]) -> str:
    """Return the hex SHA-256 of a schema without its docs: sorted keys, no white space.

    Unlike Avro's own canonical form it keeps defaults and column layouts, which readers depend on as well.
    """
    text = json.dumps(_without_docs(definition), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _without_docs(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _without_docs(value) for key, value in part.items() if key != "doc"}
    return [_without_docs(each) for each in part] if isinstance(part, list) else part
