"""Schema versions: what the gate refuses, and how an older record is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import schemas
from indexer import codec
from indexer.codec import wire
from indexer.records import Rollback
from schemas import compat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the schemas to break."""
    return Path(shutil.copytree(schemas.FOLDER, tmp_path / "schemas"))


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def add_version(folder: Path, subject: str, change: Any) -> None:
    """Add version 2 of a subject: version 1 with `change` applied."""
    definition = json.loads((folder / subject / "1.avsc").read_text())
    change(definition)
    (folder / subject / "2.avsc").write_text(json.dumps(definition))
    (folder / "examples" / f"{subject}-2.json").write_text("{}")
    entry = {"id": 2001, "fingerprint": schemas.fingerprint(definition)}
    edit(folder / "ids.json", lambda ids: ids[subject].update({"2": entry}))


def field(definition: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in definition["fields"] if each["name"] == name)


def test_the_checked_in_schemas_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert compat.main([]) == 0
    assert "every pair compatible" in capsys.readouterr().out


def test_a_changed_version_is_refused(folder: Path) -> None:
    edit(folder / "rollback" / "1.avsc", lambda d: field(d, "generation").update(type="int"))

    assert ["rollback 1 was changed" in line for line in compat.problems(folder)] == [True]


def test_a_corrected_doc_is_not_a_change(folder: Path) -> None:
    edit(folder / "rollback" / "1.avsc", lambda d: d.update(doc="said better"))

    assert list(compat.problems(folder)) == []


def test_a_new_field_with_a_default_is_compatible_both_ways(folder: Path) -> None:
    add_version(
        folder,
        "rollback",
        lambda d: d["fields"].append({"name": "cause", "type": ["null", "string"], "default": None}),
    )

    assert list(compat.problems(folder)) == []


def test_a_new_field_without_a_default_cannot_read_the_old(folder: Path) -> None:
    add_version(folder, "rollback", lambda d: d["fields"].append({"name": "cause", "type": "string"}))

    assert [line for line in compat.problems(folder) if "2 cannot read what version 1 writes" in line]


def test_a_dropped_field_cannot_be_read_by_the_old(folder: Path) -> None:
    add_version(folder, "rollback", lambda d: d["fields"].pop())

    assert [line for line in compat.problems(folder) if "1 cannot read what version 2 writes" in line]


def test_another_layout_of_a_column_is_refused(folder: Path) -> None:
    def change(definition: dict[str, Any]) -> None:
        field(field(definition, "logs")["type"], "data")["layout"] = "text"

    add_version(folder, "decoded_block", change)

    assert list(compat.problems(folder)) == ["decoded_block 2: the column logs.data was blob and is text"]


def test_a_list_of_codes_may_grow_at_its_end_only(folder: Path) -> None:
    def change(definition: dict[str, Any]) -> None:
        transfers = field(definition, "token_transfers")["type"]
        field(transfers, "standard")["layout"] = "code(erc20, erc721, erc1155, erc6909)"
        field(transfers, "kind")["layout"] = "code(deposit, transfer, withdrawal)"

    add_version(folder, "decoded_block", change)

    assert ["token_transfers.kind was" in line for line in compat.problems(folder)] == [True]


def test_a_new_column_must_be_optional(folder: Path) -> None:
    def change(definition: dict[str, Any]) -> None:
        column = {"name": "depth", "type": "bytes", "layout": "uint(63)", "default": ""}
        field(definition, "logs")["type"]["fields"].append(column)

    add_version(folder, "decoded_block", change)

    assert ["make it optional" in line for line in compat.problems(folder)] == [True]


def test_an_id_used_twice_a_missing_file_and_a_missing_example_are_named(folder: Path) -> None:
    edit(folder / "ids.json", lambda ids: ids["outcome"]["1"].update(id=1001))
    (folder / "rollback" / "1.avsc").unlink()
    shutil.copy(folder / "outcome" / "1.avsc", folder / "outcome" / "7.avsc")
    (folder / "examples" / "outcome-1.json").unlink()

    found = "\n".join(compat.problems(folder))

    assert "id 1001 is used twice" in found
    assert "rollback 1 is missing in the folder" in found
    assert "outcome 7 is missing in ids.json; its fingerprint is" in found
    assert "outcome 1 has no example" in found


def test_an_id_of_an_earlier_revision_must_not_change() -> None:
    now = schemas.ids()
    earlier = {**now, "rollback": {"1": {"id": 77, "fingerprint": "x"}}, "gone": {"1": {"id": 78}}}

    assert compat.changed_ids(now, now) == []
    assert ["rollback 1" in line or "gone 1" in line for line in compat.changed_ids(earlier, now)] == [True] * 2


@pytest.fixture
def a_second_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def change(definition: dict[str, Any]) -> None:
        definition["fields"].append({"name": "cause", "type": "string", "default": "reorg"})

    add_version(folder, "rollback", change)
    caches = (schemas.load, schemas.by_id, schemas.ids, wire._known, wire._writer)
    monkeypatch.setattr(schemas, "FOLDER", folder)
    for cached in caches:
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("a_second_version")
def test_an_older_record_is_read_in_the_newest_shape() -> None:
    value = b"\x00" + schemas.load("rollback", 1).id.to_bytes(4) + bytes([2, 4, 6])

    _, record = wire.decode(value, "rollback")

    assert record == {"chain_id": 1, "from_number": 2, "generation": 3, "cause": "reorg"}


@pytest.mark.usefixtures("a_second_version")
def test_the_newest_version_is_what_is_written() -> None:
    assert codec.encode_rollback(Rollback(1, 2, 3))[:5] == b"\x00" + (2001).to_bytes(4)
