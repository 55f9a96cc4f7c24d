"""The compiled module gives byte for byte what Python gives, or declines; Python decides about the rest."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devchain.build import open_chain
from devchain.params import ChainParams, Profile
from indexer import native
from indexer.codec import encode_block
from indexer.errors import PoisonError
from indexer.records import DecodedBlock, DecodedEvents
from services.persister.packed import PackedBlock, packed, read, rows_of
from services.persister.rows import BlockRefusedError
from tests.support import record_strategies as some
from tests.support.blocks import BlockMaker
from tests.support.native import compiled
from tests.support.packing import is_taken, outcome
from tests.support.storing import decoded

make = BlockMaker(transactions=12, logs=20, transfers=15)
either = pytest.mark.parametrize("module", [None, native.load("auto")], ids=["python", "auto"])


def assert_the_same_with_and_without(value: bytes) -> None:
    assert outcome(value, compiled()) == outcome(value, None)


def usual(block: DecodedBlock) -> DecodedBlock:
    """The block with what a decoder makes: indexes that are positions, JSON where JSON belongs."""
    for rows in (block.logs, block.token_transfers, block.decoded_events):
        rows.log_index[:] = range(len(rows.log_index))
    block.logs.transaction_index[:] = [index % 2 for index in block.logs.log_index]
    block.token_transfers.batch_index[:] = [0] * len(block.token_transfers.batch_index)
    t, e = block.transactions, block.decoded_events
    for texts in (t.extra, t.receipt_extra, e.args):
        texts[:] = [None if text is None else json.dumps([text]).replace("\\u", "") for text in texts]  # type: ignore[index]
    block.header.extra = {f"field{i}": "0x" + value.encode().hex() for i, value in enumerate(block.header.extra)}
    block.undecoded_logs = block.logs.log_index[1:]
    return block


@pytest.mark.parametrize(
    ("profile", "seed", "ethereum"),
    [("mixed", 1, False), ("mixed", 2, True), ("bench", 3, False), ("small", 4, False), ("empty", 5, False)],
)
def test_blocks_of_a_simulated_chain_take_the_short_way(
    tmp_path: Path, profile: Profile, seed: int, ethereum: bool
) -> None:
    chain = open_chain(ChainParams(profile=profile, seed=seed, blocks=20, ethereum=ethereum), tmp_path, jobs=1)

    for number in range(21):
        value = encode_block(decoded(chain, number))
        assert is_taken(value, compiled())
        assert_the_same_with_and_without(value)


def test_blocks_with_events_and_undecoded_logs_take_the_short_way() -> None:
    for number in range(5):
        value = encode_block(make(number, generation=3, job_id=7))
        assert is_taken(value, compiled())
        assert_the_same_with_and_without(value)


@settings(max_examples=150, deadline=None)
@given(block=some.blocks.map(usual))
def test_every_usual_block_takes_the_short_way(block: DecodedBlock) -> None:
    value = encode_block(block)

    assert is_taken(value, compiled())
    assert_the_same_with_and_without(value)


@settings(max_examples=150, deadline=None)
@given(block=some.blocks)
def test_every_block_has_the_same_rows_or_the_same_error(block: DecodedBlock) -> None:
    assert_the_same_with_and_without(encode_block(block))


@settings(max_examples=300, deadline=None)
@given(block=st.one_of(some.blocks, some.blocks.map(usual)), data=st.data())
def test_mutated_bytes_have_the_same_rows_or_the_same_error(block: DecodedBlock, data: st.DataObject) -> None:
    value = bytearray(encode_block(block))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(5, len(value) - 1))
        how = data.draw(st.sampled_from(["set", "drop", "insert"]))
        byte = data.draw(st.sampled_from([0, 1, 2, 3, 64, 127, 128, 255]))
        value[at : at + (how != "insert")] = b"" if how == "drop" else bytes([byte])

    assert_the_same_with_and_without(bytes(value))


@settings(max_examples=200)
@given(value=st.binary(max_size=400))
def test_garbage_is_declined(value: bytes) -> None:
    assert compiled().pack_block(value) is None
    assert compiled().Deltas().add_record(value) is False


@pytest.mark.parametrize("args", ['{"a":"\\u0000"}', '{"a":"\x00"}', '{"a":"\\ud800"}'])
def test_json_that_may_need_changes_is_left_to_python(args: str) -> None:
    block = make(7)
    block.decoded_events = DecodedEvents([1], ["dex"], ["Swap"], [args])

    assert not is_taken(encode_block(block), compiled())
    assert_the_same_with_and_without(encode_block(block))


@either
def test_columns_that_disagree_keep_their_error(module: ModuleType | None) -> None:
    value = encode_block(make(7))
    hashes = b"".join(make(7).transactions.hash)
    at = value.index(hashes)
    assert value[at - 3] == 2 * len(make(7).transactions.hash)  # count, then the size of the column in two bytes
    changed = value[: at - 3] + bytes([value[at - 3] + 2]) + value[at - 2 :]

    with pytest.raises(PoisonError) as raised:
        read(changed, module)

    assert raised.value.code == "INCONSISTENT_COLUMNS"


@either
def test_a_value_without_room_keeps_its_error(module: ModuleType | None) -> None:
    block = make(7)
    block.transactions.type[0] = 2**15
    found = read(encode_block(block), module)
    assert isinstance(found, PackedBlock)

    with pytest.raises(BlockRefusedError, match="block 7 does not fit into transactions") as raised:
        rows_of([found])

    assert raised.value.block is found.content


@either
def test_a_generation_that_a_repeat_raises_is_in_the_row(module: ModuleType | None) -> None:
    newer = rows_of([packed(make(7, generation=9))])

    block = read(encode_block(make(7, generation=2)), module)
    assert isinstance(block, PackedBlock)
    block.generation = 9

    assert rows_of([block]).tables == newer.tables


def test_without_the_compiled_code_python_makes_the_rows() -> None:
    block = read(encode_block(make(7)), None)

    assert isinstance(block, PackedBlock)
    assert block.content == make(7)
    assert rows_of([block]).count == 1 + 12 + 20 + 15 + 1


def test_the_compiled_code_is_not_asked_about_other_schemas() -> None:
    value = b"\x00" + (2**32 - 1).to_bytes(4) + encode_block(make(7))[5:]

    with pytest.raises(PoisonError) as raised:
        read(value, compiled())

    assert raised.value.code == "UNKNOWN_SCHEMA_ID"
