"""Bytes in, a block or its failure out."""

from __future__ import annotations

import pytest

from indexer.chain.rules import rules_for
from indexer.checksum import sealed
from indexer.codec import encode_block, encode_rollback, encode_work_item
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.records import BlockWorkItem, Rollback
from indexer.topics import partition_of
from services.persister.handler import BlockHandler, read
from services.persister.packed import PackedBlock, Pieces
from services.persister.proving import Prover
from tests.support.blocks import CHAIN, BlockMaker
from tests.support.native import compiled

PARTITIONS = 4
PROVER = Prover(rules_for(CHAIN))
make = BlockMaker()


def record(value: bytes | None, number: int = 7, partition: int | None = None, offset: int = 0) -> Record:
    to = partition_of(number, PARTITIONS) if partition is None else partition
    return Record("blocks.decoded", to, offset, b"k", value, sealed((), value or b""))


def code(value: object) -> str:
    assert isinstance(value, PoisonError)
    return value.code


def test_a_block_is_packed() -> None:
    block = read(record(encode_block(make(7))), PROVER, PARTITIONS)

    assert isinstance(block, PackedBlock)
    assert (block.number, block.hash) == (7, make(7).header.hash)


def test_a_rollback_is_decoded_in_every_partition() -> None:
    rollback = Rollback(CHAIN, 7, 3)

    assert [read(record(encode_rollback(rollback), partition=p), PROVER, PARTITIONS) for p in range(4)] == [
        rollback
    ] * 4


def test_bytes_that_are_no_block_are_poison() -> None:
    assert code(read(record(b"garbage"), PROVER, PARTITIONS)) == "NOT_AVRO"
    assert code(read(record(None), PROVER, PARTITIONS)) == "NOT_AVRO"
    assert code(read(record(encode_work_item(BlockWorkItem(CHAIN, 7))), PROVER, PARTITIONS)) == "UNKNOWN_SCHEMA_ID"


def test_another_chains_block_is_poison() -> None:
    assert code(read(record(encode_block(make(7))), Prover(rules_for(CHAIN + 1)), PARTITIONS)) == "OTHER_CHAIN"


def test_a_block_in_another_partition_than_its_heights_is_poison() -> None:
    elsewhere = (partition_of(7, PARTITIONS) + 1) % PARTITIONS

    assert code(read(record(encode_block(make(7)), partition=elsewhere), PROVER, PARTITIONS)) == "WRONG_PARTITION"


@pytest.mark.parametrize("number", [1 << 45, 1 << 61])
def test_a_height_that_no_chain_has_is_poison(number: int) -> None:
    rollback = encode_rollback(Rollback(CHAIN, number, 3))

    assert code(read(record(encode_block(make(number)), number=number), PROVER, PARTITIONS)) == "IMPOSSIBLE_NUMBER"
    assert code(read(record(rollback), PROVER, PARTITIONS)) == "IMPOSSIBLE_NUMBER"


def test_the_handler_finishes_what_was_submitted() -> None:
    handler = BlockHandler(CHAIN, PARTITIONS)
    room = handler.room()
    handler.submit([record(encode_block(make(7)), offset=3), record(b"x", offset=4)])

    assert handler.room() == room - 2
    done = handler.completed(0)

    assert [each.offset for each in done] == [3, 4]
    assert isinstance(done[0].result.value, PackedBlock)
    assert done[1].size == 1
    assert (handler.completed(0), handler.room()) == ([], room)


def test_the_handler_hands_blocks_to_the_compiled_code_first() -> None:
    handler = BlockHandler(CHAIN, PARTITIONS, native=compiled())
    handler.submit([record(encode_block(make(7)))])

    [done] = handler.completed(0)

    assert isinstance(done.result.value, PackedBlock)
    assert isinstance(done.result.value.content, Pieces)


def test_the_handler_forgets_partitions_that_left() -> None:
    handler = BlockHandler(CHAIN, PARTITIONS)
    handler.submit([record(b"x", partition=0), record(b"x", partition=1)])

    handler.forget([record(b"x", partition=0).source])

    assert [each.source.partition for each in handler.completed(0)] == [1]
    handler.close()
