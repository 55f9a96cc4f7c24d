"""What a dead letter is about, where its bytes are not to be believed."""

from __future__ import annotations

import pytest

from indexer.checksum import sealed
from indexer.codec import block_key, encode_block, encode_rollback, encode_work_item
from indexer.inflight import Record
from indexer.records import BlockWorkItem, Rollback
from services.persister.dlq_indexer import Subject, subject_of
from tests.support.blocks import CHAIN, BlockMaker

make = BlockMaker()
GENUINE, ALTERED = encode_block(make(8, job_id=3)), encode_block(make(9, job_id=4))


def letter(value: bytes, key: bytes = block_key(CHAIN, 8), code: bytes = b"ROW_REFUSED") -> Record:
    return Record("blocks.dlq", 0, 0, key, value, (*sealed((), GENUINE), ("x-dlq-error-code", code)))


def test_a_value_that_is_what_was_written_is_believed() -> None:
    assert subject_of(letter(GENUINE), CHAIN) == Subject(8, 3, readable=True)


def test_of_a_value_that_was_altered_only_the_key_is_believed() -> None:
    assert subject_of(letter(ALTERED), CHAIN) == Subject(8)
    assert subject_of(letter(ALTERED, key=b"strange"), CHAIN) == Subject()


def test_of_a_block_that_was_not_genuine_only_the_key_is_believed() -> None:
    assert subject_of(letter(GENUINE, code=b"RECORD_NOT_GENUINE"), CHAIN) == Subject(8)


@pytest.mark.parametrize(
    "value",
    [
        encode_work_item(BlockWorkItem(1, 8, job_id=3)),
        encode_block(BlockMaker(chain_id=1)(8, job_id=3)),
        encode_rollback(Rollback(1, 8, 2)),
    ],
)
def test_a_record_of_another_chain_is_about_no_block_and_no_job_of_ours(value: bytes) -> None:
    assert subject_of(Record("blocks.dlq", 0, 0, block_key(CHAIN, 8), value), CHAIN) == Subject(readable=True)


def test_a_key_of_another_chain_names_no_block_of_ours() -> None:
    assert subject_of(Record("blocks.dlq", 0, 0, block_key(1, 8), b"garbage"), CHAIN) == Subject()
