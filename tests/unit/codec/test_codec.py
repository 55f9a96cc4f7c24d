"""The laws of the codec: what goes in comes out, and bytes that are not ours are poison and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from indexer import codec
from indexer.errors import PoisonError
from indexer.records import BlockWorkItem, DecodedBlock, Header, Logs, Rollback, TokenTransfers, Transactions
from tests.support import record_strategies as some

DECODERS = (codec.decode_work_item, codec.decode_record, codec.decode_outcome)


def header(**changed: object) -> Header:
    names = ["hash", "parent_hash", "sha3_uncles", "state_root", "transactions_root", "receipts_root"]
    numbers = ["number", "difficulty", "gas_limit", "gas_used", "timestamp", "size"]
    fields = dict.fromkeys(names, bytes(32)) | dict.fromkeys(numbers, 1)
    fields |= {"miner": bytes(20), "logs_bloom": bytes(256), "extra_data": b""}
    return Header(**(fields | changed))  # type: ignore[arg-type]


def code_of(raised: pytest.ExceptionInfo[PoisonError]) -> str:
    return raised.value.code


def refusal_of(value: bytes) -> str | None:
    try:
        codec.decode_record(value)
    except PoisonError as error:
        return error.code
    return None


@given(some.blocks)
@settings(max_examples=60)
def test_every_block_comes_back_as_it_was(block: DecodedBlock) -> None:
    assert codec.decode_record(codec.encode_block(block)) == block


@given(some.work_items)
def test_every_work_item_comes_back_as_it_was(item: BlockWorkItem) -> None:
    assert codec.decode_work_item(codec.encode_work_item(item)) == item


@given(some.work_items, st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_work_items_of_many_blocks_are_what_each_would_be(item: BlockWorkItem, numbers: list[int]) -> None:
    each = [codec.encode_work_item(replace(item, number=number)) for number in numbers]

    assert list(codec.encode_work_items(item, numbers)) == each


@given(some.rollbacks)
def test_every_rollback_comes_back_as_it_was(rollback: Rollback) -> None:
    assert codec.decode_record(codec.encode_rollback(rollback)) == rollback


@given(some.outcomes)
def test_every_outcome_comes_back_as_it_was(outcome: object) -> None:
    assert codec.decode_outcome(codec.encode_outcome(outcome)) == outcome  # type: ignore[arg-type]


def test_an_empty_block_comes_back_as_it_was() -> None:
    block = DecodedBlock(chain_id=1, header=header())

    assert codec.decode_record(codec.encode_block(block)) == block


def test_a_block_with_more_rows_than_a_cached_format_comes_back_as_it_was() -> None:
    n = 1500
    h = [i.to_bytes(32) for i in range(n)]
    logs = Logs(list(range(n)), [0] * n, [bytes(20)] * n, list(h), list(h), [None] * n, [None] * n, list(h))
    block = DecodedBlock(chain_id=1, header=header(), logs=logs)

    assert codec.decode_record(codec.encode_block(block)) == block


def test_the_wire_format_is_a_zero_the_id_and_the_body() -> None:
    value = codec.encode_rollback(Rollback(1, 2, 3))

    assert value == b"\x00" + schemas.latest("rollback").id.to_bytes(4) + bytes([2, 4, 6])


def test_keys_name_chain_and_block() -> None:
    assert codec.block_key(43114, 123) == b"43114:123"


@given(st.binary(max_size=64))
def test_foreign_bytes_are_poison(value: bytes) -> None:
    for decode in DECODERS:
        with pytest.raises(PoisonError):
            decode(value)


@given(some.blocks, st.data())
@settings(max_examples=60)
def test_a_damaged_block_is_poison_or_another_block_and_never_another_error(
    block: DecodedBlock, data: st.DataObject
) -> None:
    value = bytearray(codec.encode_block(block))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))

    assert refusal_of(bytes(value)) in (None, "NOT_AVRO", "INCONSISTENT_COLUMNS")


@given(some.blocks, st.data())
@settings(max_examples=40)
def test_a_truncated_block_is_poison(block: DecodedBlock, data: st.DataObject) -> None:
    value = codec.encode_block(block)

    with pytest.raises(PoisonError) as raised:
        codec.decode_record(value[: data.draw(st.integers(0, len(value) - 1))])

    assert code_of(raised) == "NOT_AVRO"


def test_bytes_after_the_end_are_poison() -> None:
    with pytest.raises(PoisonError) as raised:
        codec.decode_record(codec.encode_rollback(Rollback(1, 2, 3)) + b"\x00")

    assert code_of(raised) == "NOT_AVRO"


def test_an_unknown_schema_id_is_poison() -> None:
    with pytest.raises(PoisonError, match="999") as raised:
        codec.decode_work_item(b"\x00" + (999).to_bytes(4) + b"body")

    assert code_of(raised) == "UNKNOWN_SCHEMA_ID"


def test_a_record_of_another_topic_is_poison() -> None:
    with pytest.raises(PoisonError, match="a rollback where block_work_item belongs") as raised:
        codec.decode_work_item(codec.encode_rollback(Rollback(1, 2, 3)))

    assert code_of(raised) == "UNKNOWN_SCHEMA_ID"


def test_a_length_of_exabytes_takes_no_memory() -> None:
    value = codec.encode_block(DecodedBlock(chain_id=1, header=header(extra_data=b"needle")))
    huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"

    with pytest.raises(PoisonError) as raised:
        codec.decode_record(value.replace(b"\x0cneedle", huge + b"needle"))

    assert code_of(raised) == "NOT_AVRO"


@pytest.mark.parametrize(
    ("block", "where"),
    [
        (DecodedBlock(1, header(gas_used=2**63)), "decoded_block"),
        (DecodedBlock(1, header(hash=b"short")), "decoded_block"),
        (DecodedBlock(1, header(difficulty=2**256)), "header.difficulty"),
        (DecodedBlock(1, header(base_fee_per_gas=-1)), "header.base_fee_per_gas"),
        (DecodedBlock(1, header(uncles=[b"short"])), "header.uncles"),
        (DecodedBlock(1, header(extra={"k": "\ud800"})), "decoded_block"),
        (DecodedBlock(1, header(), undecoded_logs=[2**32]), "undecoded_logs"),
        (DecodedBlock(1, header(), Transactions(hash=[bytes(31)])), "transactions.hash"),
        (DecodedBlock(1, header(), Transactions(hash=[bytes(32)])), "transactions.type"),
        (DecodedBlock(1, header(), logs=Logs(log_index=[2**63])), "logs.log_index"),
        (DecodedBlock(1, header(), logs=Logs(log_index=[-1])), "logs.log_index"),
        (
            DecodedBlock(1, header(), token_transfers=TokenTransfers([0], [0], [bytes(20)], ["erc404"])),
            "token_transfers.standard",
        ),
    ],
)
def test_a_value_without_room_in_the_schema_is_poison_and_says_where(block: DecodedBlock, where: str) -> None:
    with pytest.raises(PoisonError, match=where) as raised:
        codec.encode_block(block)

    assert code_of(raised) == "UNENCODABLE"


def test_a_work_item_without_room_in_the_schema_is_poison() -> None:
    with pytest.raises(PoisonError) as raised:
        codec.encode_work_item(BlockWorkItem(chain_id=1, number=2**63))

    assert code_of(raised) == "UNENCODABLE"
