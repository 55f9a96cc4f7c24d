"""Token transfers: the shapes that count, and the malformed ones that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.abi.standards import (
    DEPOSIT,
    TRANSFER,
    TRANSFER_BATCH,
    TRANSFER_SINGLE,
    WITHDRAWAL,
    token_transfers,
)
from indexer.abi.wrapped import wrapped_native
from indexer.records import Logs, TokenTransfers
from tests.unit.abi.abi_builders import ALICE, BOB, NOBODY, TOKEN, a_log, logs_of, word, words

OPERATOR = word(bytes([0x0E]) * 20)
FROM_TO = (word(ALICE), word(BOB))
DIRTY = b"\x01" + word(ALICE)[1:]
NO_CONTRACTS: frozenset[bytes] = frozenset()
LISTED = frozenset({TOKEN})

Row = tuple[int, int, bytes, str, str, bytes, bytes, int, int]


def rows(logs: Logs, wrapped: frozenset[bytes] = NO_CONTRACTS) -> list[Row]:
    found = token_transfers(logs, wrapped)
    columns = [getattr(found, name) for name in TokenTransfers.__slots__]
    return list(zip(*columns, strict=True))


def batch(token_ids: list[int], amounts: list[int]) -> bytes:
    tail = 64 + 32 + 32 * len(token_ids)
    return words(64, tail, len(token_ids), *token_ids, len(amounts), *amounts)


def test_three_topics_are_an_erc20_transfer() -> None:
    log = a_log(TRANSFER, *FROM_TO, data=word(2**256 - 1), index=7)

    assert rows(log) == [(7, 0, TOKEN, "erc20", "transfer", ALICE, BOB, 0, 2**256 - 1)]


def test_four_topics_are_an_erc721_transfer() -> None:
    log = a_log(TRANSFER, *FROM_TO, word(5899))

    assert rows(log) == [(0, 0, TOKEN, "erc721", "transfer", ALICE, BOB, 5899, 1)]


def test_an_erc1155_transfer_has_token_and_amount() -> None:
    log = a_log(TRANSFER_SINGLE, OPERATOR, *FROM_TO, data=words(21, 3))

    assert rows(log) == [(0, 0, TOKEN, "erc1155", "transfer", ALICE, BOB, 21, 3)]


def test_a_batch_is_a_row_per_token() -> None:
    log = a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=batch([7, 8], [70, 80]), index=4)

    assert rows(log) == [
        (4, 0, TOKEN, "erc1155", "transfer", ALICE, BOB, 7, 70),
        (4, 1, TOKEN, "erc1155", "transfer", ALICE, BOB, 8, 80),
    ]


def test_a_batch_may_share_one_array_as_ethers_allows() -> None:
    log = a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=words(64, 64, 1, 5))

    assert [(row[7], row[8]) for row in rows(log)] == [(5, 5)]


def test_an_empty_batch_moves_nothing() -> None:
    assert rows(a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=batch([], []))) == []


def test_deposit_and_withdrawal_of_a_listed_contract_are_transfers() -> None:
    logs = logs_of(
        (0, TOKEN, (DEPOSIT, word(ALICE)), word(10)),
        (1, TOKEN, (WITHDRAWAL, word(BOB)), word(3)),
    )

    assert rows(logs, LISTED) == [
        (0, 0, TOKEN, "erc20", "deposit", NOBODY, ALICE, 0, 10),
        (1, 0, TOKEN, "erc20", "withdrawal", BOB, NOBODY, 0, 3),
    ]


def test_deposit_and_withdrawal_of_any_other_contract_are_not() -> None:
    logs = logs_of(
        (0, TOKEN, (DEPOSIT, word(ALICE)), word(10)),
        (1, TOKEN, (WITHDRAWAL, word(BOB)), word(3)),
    )

    assert rows(logs) == []


def test_rows_come_in_log_order() -> None:
    logs = logs_of(
        (3, TOKEN, (TRANSFER, *FROM_TO), word(1)),
        (4, TOKEN, (), b""),
        (5, TOKEN, (DEPOSIT, word(ALICE)), word(1)),
        (9, TOKEN, (TRANSFER, *FROM_TO, word(2)), b""),
    )

    assert [row[0] for row in rows(logs, LISTED)] == [3, 5, 9]


def test_data_behind_the_values_is_overlooked_as_ethers_does() -> None:
    longer = [
        a_log(TRANSFER, *FROM_TO, data=word(5) + b"\x01"),
        a_log(TRANSFER, *FROM_TO, data=words(5, 6)),
        a_log(TRANSFER, *FROM_TO, word(5), data=b"\x01"),
        a_log(TRANSFER_SINGLE, OPERATOR, *FROM_TO, data=words(5, 5, 5)),
        a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=batch([5], [5]) + b"\x01\x02"),
    ]

    assert [len(rows(log)) for log in longer] == [1, 1, 1, 1, 1]


MALFORMED = {
    "no topics": a_log(),
    "a Transfer with one topic (CryptoKitties)": a_log(TRANSFER, data=words(ALICE, BOB, 5)),
    "a Transfer with two topics": a_log(TRANSFER, word(ALICE), data=words(BOB, 5)),
    "erc20: no data": a_log(TRANSFER, *FROM_TO),
    "erc20: 31 bytes of data": a_log(TRANSFER, *FROM_TO, data=bytes(31)),
    "erc20: dirty sender": a_log(TRANSFER, DIRTY, word(BOB), data=word(5)),
    "erc20: dirty receiver": a_log(TRANSFER, word(BOB), DIRTY, data=word(5)),
    "erc20: a topic of 20 bytes": a_log(TRANSFER, ALICE, word(BOB), data=word(5)),
    "erc721: dirty receiver": a_log(TRANSFER, word(BOB), DIRTY, word(5)),
    "erc721: a token id of 33 bytes": a_log(TRANSFER, *FROM_TO, b"\x01" + word(5)),
    "erc1155: three topics": a_log(TRANSFER_SINGLE, OPERATOR, *FROM_TO[:1], data=words(1, 2)),
    "erc1155: short data": a_log(TRANSFER_SINGLE, OPERATOR, *FROM_TO, data=words(1) + bytes(31)),
    "erc1155: dirty operator": a_log(TRANSFER_SINGLE, DIRTY, *FROM_TO, data=words(1, 2)),
    "batch: arrays of unequal length": a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=batch([1, 2], [1])),
    "batch: no data": a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO),
    "batch: dirty operator": a_log(TRANSFER_BATCH, DIRTY, *FROM_TO, data=batch([1], [1])),
    "batch: absurd offset": a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=words(2**255, 64, 0)),
    "batch: offset of the last byte": a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=words(95, 64, 0)),
    "batch: absurd count": a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=words(64, 64, 2**255)),
    "batch: count beyond the data": a_log(TRANSFER_BATCH, OPERATOR, *FROM_TO, data=words(64, 64, 2, 1)),
    "deposit: one topic, all in the data": a_log(DEPOSIT, data=words(ALICE, 5)),
    "deposit: three topics": a_log(DEPOSIT, *FROM_TO, data=word(5)),
    "deposit: short data": a_log(DEPOSIT, word(ALICE), data=bytes(31)),
    "withdrawal: dirty holder": a_log(WITHDRAWAL, DIRTY, data=word(5)),
}


@pytest.mark.parametrize("log", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_log_gives_no_transfer(log: Logs) -> None:
    assert rows(log, LISTED) == []


@given(
    topic0=st.sampled_from([TRANSFER, TRANSFER_SINGLE, TRANSFER_BATCH, DEPOSIT, WITHDRAWAL, bytes(32)]),
    topics=st.lists(st.one_of(st.just(word(ALICE)), st.binary(min_size=32, max_size=32)), max_size=3),
    data=st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([0, 1, 2, 32, 64, 96, 2**64, 2**255]), max_size=8).map(lambda ns: words(*ns)),
    ),
)
def test_no_log_raises_and_every_row_fits_its_columns(topic0: bytes, topics: list[bytes], data: bytes) -> None:
    for row in rows(a_log(topic0, *topics, data=data), LISTED):
        assert len(row[5]) == len(row[6]) == 20
        assert 0 <= row[7] < 2**256
        assert 0 <= row[8] < 2**256


def test_the_wrapped_coins_of_known_chains_are_listed() -> None:
    assert wrapped_native(43114) == {bytes.fromhex("b31f66aa3c1e785363f0875a1b74e27b85fd66c7")}
    assert wrapped_native(1) == {bytes.fromhex("c02aaa39b223fe8d0a0e5c4f27ead9083c756cc2")}
    assert wrapped_native(31337) == frozenset()
