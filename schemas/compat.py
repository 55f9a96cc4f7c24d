"""The compatibility gate: `python -m schemas.compat` exits 1, saying why, when a schema would break a reader.

Every version is checked against all earlier ones, in both directions, by Avro's own rules; column layouts, ids and
fingerprints must not change. `--against REF` also compares ids.json with the one of a git revision.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import schemas

Ids = dict[str, dict[str, dict[str, Any]]]
Layouts = dict[str, str]


def main(arguments: list[str] | None = None) -> int:
    """Print every problem; return 1 when there is one."""
    parser = argparse.ArgumentParser(prog="python -m schemas.compat", description=__doc__)
    parser.add_argument("--against", metavar="REF", help="a git revision whose ids must all be unchanged")
    options = parser.parse_args(arguments)
    ids = read_ids(schemas.FOLDER)
    found = list(problems(schemas.FOLDER))
    if options.against:
        found += changed_ids(ids_at(options.against), ids)
    versions = sum(map(len, ids.values()))
    summary = f"{versions} schema versions, every pair compatible in both directions"
    sys.stdout.write("\n".join(found or [summary]) + "\n")
    return 1 if found else 0


def problems(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the schemas of a folder, one line each."""
    ids = read_ids(folder)
    numbers = [entry["id"] for versions in ids.values() for entry in versions.values()]
    yield from (f"id {each} is used twice" for each in sorted({n for n in numbers if numbers.count(n) > 1}))
    files = {(path.parent.name, path.stem) for path in folder.glob("*/*.avsc")}
    listed = {(subject, version) for subject, versions in ids.items() for version in versions}
    for subject, version in sorted(files ^ listed):
        where = "ids.json" if (subject, version) in files else "the folder"
        yield f"{subject} {version} is missing in {where}{_suggestion(folder, subject, version)}"
    for subject, versions in ids.items():
        yield from _of_subject(folder, subject, {v: e for v, e in versions.items() if (subject, v) in files})


def _of_subject(folder: Path, subject: str, versions: dict[str, dict[str, Any]]) -> Iterator[str]:
    definitions = {version: _read(folder, subject, version) for version in sorted(versions, key=int)}
    for version, definition in definitions.items():
        if (actual := schemas.fingerprint(definition)) != versions[version]["fingerprint"]:
            yield f"{subject} {version} was changed: its fingerprint is {actual}; make a new version instead"
        if not (folder / "examples" / f"{subject}-{version}.json").is_file():
            yield f"{subject} {version} has no example"
    for old, new in combinations(definitions, 2):
        for reader, writer in ((new, old), (old, new)):
            for reason in incompatibilities(definitions[reader], definitions[writer]):
                yield f"{subject}: version {reader} cannot read what version {writer} writes: {reason}"
        yield from (f"{subject} {new}: {reason}" for reason in _layout_changes(definitions[old], definitions[new]))


def incompatibilities(reader: dict[str, Any], writer: dict[str, Any]) -> list[str]:
    """Return why `reader` cannot read what `writer` writes, by Avro's rules; empty when it can."""
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
    from avro.schema import make_avsc_object

    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # avro has partial types
    result = checker.get_compatibility(make_avsc_object(reader), make_avsc_object(writer))
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return [f"{where}: {what}" for where, what in zip(sorted(result.locations), result.messages, strict=False)]


def _layout_changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, after = layouts(old), layouts(new)
    for path, layout in before.items():
        known = after.get(path)
        grown = re.fullmatch(re.escape(layout[:-1]) + r"(, \w+)*\)", known or "") if "code(" in layout else None
        if known is not None and known != layout and not grown:
            yield f"the column {path} was {layout} and is {known}"
    for path in after.keys() - before.keys():
        if not after[path].startswith("optional "):
            yield f"the new column {path} is {after[path]}: older records have no values for it, make it optional"


def layouts(definition: dict[str, Any], path: str = "") -> Layouts:
    """Return the layout of every column, by its dotted path."""
    found: Layouts = {}
    for field in definition["fields"]:
        name = f"{path}{field['name']}"
        if "layout" in field:
            found[name] = field["layout"]
        if isinstance(field["type"], dict) and field["type"]["type"] == "record":
            found |= layouts(field["type"], name + ".")
    return found


def changed_ids(earlier: Ids, now: Ids) -> list[str]:
    """Return what a later ids.json changed or lost of an earlier one."""
    return [
        f"{subject} {version} had {entry} and has {now.get(subject, {}).get(version)}: ids are immutable"
        for subject, versions in earlier.items()
        for version, entry in versions.items()
        if now.get(subject, {}).get(version) != entry
    ]


def read_ids(folder: Path) -> Ids:
    ids: Ids = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    return ids


def ids_at(revision: str) -> Ids:
    """Return ids.json as of a git revision."""
    command = ["git", "-C", str(schemas.FOLDER), "show", f"{revision}:./ids.json"]
    ids: Ids = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return ids


def _read(folder: Path, subject: str, version: str) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads((folder / subject / f"{version}.avsc").read_text(encoding="utf-8"))
    return definition


def _suggestion(folder: Path, subject: str, version: str) -> str:
    if not (folder / subject / f"{version}.avsc").is_file():
        return ""
    return f"; its fingerprint is {schemas.fingerprint(_read(folder, subject, version))}"


if __name__ == "__main__":
    sys.exit(main())
