"""Compiled code finds the token transfers that Python finds, byte for byte, in whatever logs a block may have."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.abi.standards import DEPOSIT, TRANSFER, TRANSFER_BATCH, TRANSFER_SINGLE, WITHDRAWAL, token_transfers
from indexer.abi.wrapped import wrapped_native
from indexer.chain.parse import parse_block
from indexer.chain.prove import Proven, Wanted, genuine_header, prove
from indexer.chain.rules import rules_for
from indexer.codec import decode_record, encode_block
from indexer.records import DecodedBlock, Logs, TokenTransfers
from tests.support.native import compiled
from tests.unit.abi.abi_builders import ALICE, BOB, TOKEN, word, words
from tests.unit.abi.test_standards import LISTED, MALFORMED, batch
from tests.unit.chain.builders import hexed, receipt_of, sealed, signed
from tests.unit.chain.test_prove import unread
from tests.unit.chain.test_real_blocks import recorded

CHAIN = rules_for(1)
TRANSACTION, _ = signed(CHAIN, gasPrice=50)
OPERATOR, FROM_TO = word(bytes([0x0E]) * 20), (word(ALICE), word(BOB))
KINDS = [
    *[("erc20", "deposit"), ("erc20", "transfer"), ("erc20", "withdrawal")],
    *[("erc721", "transfer"), ("erc1155", "transfer")],
]

Log = tuple[bytes, Sequence[bytes], bytes]  # address, topics, data


@pytest.fixture(scope="module")
def native() -> ModuleType:
    return compiled()


def a_block(native: ModuleType, logs: Sequence[Log], wanted: Wanted) -> tuple[Proven, Logs]:
    """Return a block as compiled code gives it, which leaves none to Python, and its logs as Python reads them."""
    items = [{"address": hexed(at), "topics": hexed(list(topics)), "data": hexed(data)} for at, topics, data in logs]
    block, receipts = sealed(CHAIN, [dict(TRANSACTION)], [receipt_of(TRANSACTION, items)])
    header = genuine_header(block, CHAIN)
    assert header is not None
    proven = prove(native, header, unread((block, receipts)), CHAIN, wanted)
    assert proven is not None
    return proven, parse_block(block, receipts, CHAIN)[2]


def found_alike(native: ModuleType, *logs: Log, wrapped: frozenset[bytes] = LISTED) -> TokenTransfers:
    """Return the transfers that compiled code finds, which Python finds too."""
    proven, python_logs = a_block(native, logs, Wanted(wrapped))
    expected = token_transfers(python_logs, wrapped)
    record = DecodedBlock(1, proven.header, proven.transactions, proven.logs, expected)
    without = {name: value for name, value in proven.packed.items() if name != "token_transfers"}
    packed = encode_block(record, proven.packed)
    assert packed == encode_block(record, without)
    block = decode_record(packed)
    assert isinstance(block, DecodedBlock)
    return block.token_transfers


def test_each_standard_and_kind_is_found(native: ModuleType) -> None:
    found = found_alike(
        native,
        (TOKEN, (TRANSFER, *FROM_TO), word(2**256 - 1)),
        (TOKEN, (TRANSFER, *FROM_TO, word(5899)), b""),
        (TOKEN, (), b""),
        (TOKEN, (TRANSFER_SINGLE, OPERATOR, *FROM_TO), words(21, 3)),
        (TOKEN, (TRANSFER_BATCH, OPERATOR, *FROM_TO), batch([7, 8], [70, 80])),
        (TOKEN, (DEPOSIT, word(ALICE)), word(10)),
        (TOKEN, (WITHDRAWAL, word(BOB)), word(0)),
    )

    assert found.log_index == [0, 1, 3, 4, 4, 5, 6]
    assert found.batch_index == [0, 0, 0, 0, 1, 0, 0]
    assert found.token_id == [0, 5899, 21, 7, 8, 0, 0]
    assert found.amount == [2**256 - 1, 1, 3, 70, 80, 10, 0]
    assert set(zip(found.standard, found.kind, strict=True)) == set(KINDS)


def test_deposit_and_withdrawal_count_for_wrapped_coins_only(native: ModuleType) -> None:
    logs = [(at, (topic, word(ALICE)), word(5)) for at in (TOKEN, BOB) for topic in (DEPOSIT, WITHDRAWAL)]

    indexes = [found_alike(native, *logs, wrapped=frozenset(some)).log_index for some in ((), (BOB,), (BOB, TOKEN))]

    assert indexes == [[], [2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("log", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_log_gives_no_transfer(native: ModuleType, log: Logs) -> None:
    columns = (log.topic0[0], log.topic1[0], log.topic2[0], log.topic3[0])
    topics = [topic[-32:].rjust(32, b"\x01") for topic in columns if topic is not None]  # as wide as all topics are

    if topics == [topic for topic in columns if topic is not None]:
        assert found_alike(native, (TOKEN, topics, log.data[0])).log_index == []
    else:
        found_alike(native, (TOKEN, topics, log.data[0]))


@pytest.mark.parametrize("amount", [0, 2**8 - 1, 2**8, 2**16, 2**32, 2**64 - 1, 2**64, 2**128 - 1, 2**128, 2**256 - 1])
def test_numbers_of_every_width_are_found_alike(native: ModuleType, amount: int) -> None:
    found = found_alike(
        native,
        (TOKEN, (TRANSFER, *FROM_TO), word(amount)),
        (TOKEN, (TRANSFER_SINGLE, OPERATOR, *FROM_TO), words(amount, 1)),
    )

    assert (found.amount, found.token_id) == ([amount, 1], [0, amount])


def test_both_arrays_of_a_batch_may_be_one_and_anywhere(native: ModuleType) -> None:
    topics = (TRANSFER_BATCH, OPERATOR, *FROM_TO)
    logs = [words(64, 64, 2, 5, 6), words(0, 0), words(31, 64, 0, 0), b"\0" * 31 + b"\x41" + words(65, 0) + b"\0"]

    found = found_alike(native, *((TOKEN, topics, data) for data in logs))

    assert found.amount[:2] == [5, 6]


def test_a_long_batch_is_found_alike(native: ModuleType) -> None:
    numbers = list(range(70_000))

    found = found_alike(native, (TOKEN, (TRANSFER_BATCH, OPERATOR, *FROM_TO), batch(numbers, numbers[::-1])))

    assert found.batch_index == numbers


POINTERS = st.sampled_from([0, 1, 2, 31, 32, 33, 63, 64, 95, 96, 97, 128, 160, 2**32, 2**63, 2**64 - 32, 2**64, 2**255])
TOPICS = st.one_of(
    st.sampled_from([*FROM_TO, bytes(32), b"\x01" + word(ALICE)[1:]]), st.binary(min_size=32, max_size=32)
)
ARRAYS = st.builds(batch, *(st.lists(st.integers(0, 2**256 - 1), max_size=3) for _ in range(2)))
DATA = st.one_of(
    st.binary(max_size=140),
    ARRAYS,
    st.builds(lambda data, size: data[:size], ARRAYS, st.integers(0, 300)),
    st.lists(POINTERS, max_size=8).map(lambda numbers: words(*numbers)),
    st.builds(lambda some, numbers: words(*some, *numbers), st.tuples(POINTERS, POINTERS), st.lists(st.integers(0, 4))),
)
FIRST = st.sampled_from([TRANSFER, TRANSFER_SINGLE, TRANSFER_BATCH, TRANSFER_BATCH, DEPOSIT, WITHDRAWAL, bytes(32)])
LOGS = st.tuples(
    st.sampled_from([TOKEN, BOB]),
    st.one_of(st.just([]), st.builds(lambda first, rest: [first, *rest], FIRST, st.lists(TOPICS, max_size=3))),
    DATA,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs=st.lists(LOGS, min_size=1, max_size=6))
def test_transfers_are_found_alike_in_any_logs(native: ModuleType, logs: list[Log]) -> None:
    found_alike(native, *logs)


def test_recorded_blocks_have_transfers_of_each_kind() -> None:
    """Which test_prove.py compares."""
    seen: set[tuple[str, str]] = set()
    for item in recorded("blocks/*.jsonl.gz"):
        if item["receipts"] is not None and item["chain_id"] in (1, 43114):
            chain = rules_for(item["chain_id"])
            logs = parse_block(item["block"], item["receipts"], chain)[2]
            found = token_transfers(logs, wrapped_native(item["chain_id"]))
            seen.update(zip(found.standard, found.kind, strict=True))

    assert seen == set(KINDS)


def test_no_log_is_made_columns_where_none_is_wanted(native: ModuleType) -> None:
    proven, _ = a_block(native, [(TOKEN, (TRANSFER, *FROM_TO), word(1)), (TOKEN, (), b"")], Wanted(LISTED))

    assert proven.logs == Logs()


def test_only_logs_of_the_wanted_topics_are_made_columns(native: ModuleType) -> None:
    note = bytes([9]) * 32
    logs = [
        (TOKEN, (TRANSFER, *FROM_TO), word(1)),
        (TOKEN, (), b""),
        (BOB, (note, word(3)), b"\x05"),
        (BOB, (word(3), note), b""),
    ]

    proven, _ = a_block(native, logs, Wanted(LISTED, frozenset({note})))

    assert proven.logs == Logs([2], [0], [BOB], [note], [word(3)], [None], [None], [b"\x05"])
