"""schemas/examples: one record of each schema version, as people read it and as it stands in the topic."""

from __future__ import annotations

import json

import pytest

import schemas
from indexer import codec
from indexer.codec.view import to_json
from indexer.records import BlockWorkItem, DecodedBlock, Outcome, Rollback
from tests.support.json_records import from_json

EXAMPLES = schemas.FOLDER / "examples"
CODECS = {
    "block_work_item": (BlockWorkItem, codec.encode_work_item, codec.decode_work_item),
    "decoded_block": (DecodedBlock, codec.encode_block, codec.decode_record),
    "rollback": (Rollback, codec.encode_rollback, codec.decode_record),
    "outcome": (Outcome, codec.encode_outcome, codec.decode_outcome),
}


def example(subject: str, version: int) -> tuple[object, bytes]:
    stem = f"{subject}-{version}"
    shown = json.loads((EXAMPLES / f"{stem}.json").read_text(encoding="utf-8"))
    return shown, bytes.fromhex((EXAMPLES / f"{stem}.hex").read_text())


@pytest.mark.parametrize(("subject", "version"), list(schemas.declared()))
def test_what_was_written_once_stays_readable(subject: str, version: int) -> None:
    shown, value = example(subject, version)

    assert to_json(CODECS[subject][2](value)) == shown
    assert to_json(codec.decode_any(value)) == shown


@pytest.mark.parametrize("subject", CODECS)
def test_the_newest_example_encodes_to_the_same_bytes(subject: str) -> None:
    kind, encode, _ = CODECS[subject]
    shown, value = example(subject, schemas.latest(subject).version)

    assert encode(from_json(kind, shown)) == value


@pytest.mark.parametrize(("subject", "version"), list(schemas.declared()))
def test_an_example_carries_the_id_of_its_schema(subject: str, version: int) -> None:
    _, value = example(subject, version)

    assert int.from_bytes(value[1:5]) == schemas.load(subject, version).id
