"""What a dead letter is about, where its bytes are not to be believed."""

from __future__ import annotations

from indexer.checksum import sealed
from indexer.codec import block_key, encode_block
from indexer.inflight import Record
from services.persister.dlq_indexer import Subject, subject_of
from tests.support.blocks import CHAIN, BlockMaker

make = BlockMaker()
GENUINE, ALTERED = encode_block(make(8, job_id=3)), encode_block(make(9, job_id=4))


def letter(value: bytes, key: bytes = block_key(CHAIN, 8), code: bytes = b"ROW_REFUSED") -> Record:
    return Record("blocks.dlq", 0, 0, key, value, (*sealed((), GENUINE), ("x-dlq-error-code", code)))


def test_a_value_that_is_what_was_written_is_believed() -> None:
    assert subject_of(letter(GENUINE), CHAIN) == Subject(CHAIN, 8, 3, readable=True)


def test_of_a_value_that_was_altered_only_the_key_is_believed() -> None:
    assert subject_of(letter(ALTERED), CHAIN) == Subject(CHAIN, 8)
    assert subject_of(letter(ALTERED, key=b"strange"), CHAIN) == Subject(CHAIN, None)


def test_of_a_block_that_was_not_genuine_only_the_key_is_believed() -> None:
    assert subject_of(letter(GENUINE, code=b"RECORD_NOT_GENUINE"), CHAIN) == Subject(CHAIN, 8)
