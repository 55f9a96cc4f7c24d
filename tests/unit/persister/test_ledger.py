"""Changes of balances are added up in one place, in the compiled module or in Python, with the same bytes."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.codec import encode_block
from indexer.records import TokenTransfers
from services.persister.ledger import Ledger
from services.persister.packed import PackedBlock, packed, read
from tests.support import record_strategies as some
from tests.support.blocks import BlockMaker
from tests.support.native import compiled
from tests.support.packing import changes

LEFT, RIGHT, TOKEN = b"\x01" * 20, b"\x02" * 20, b"\x03" * 20
make = BlockMaker(transfers=4)


def moves(*amounts: int) -> TokenTransfers:
    """Transfers of one token from LEFT to RIGHT."""
    n = len(amounts)
    return TokenTransfers(
        list(range(n)), [0] * n, [TOKEN] * n, ["erc20"] * n, ["transfer"] * n, [LEFT] * n, [RIGHT] * n, [0] * n,
        list(amounts),
    )  # fmt: skip


def back(transfers: TokenTransfers) -> TokenTransfers:
    transfers.from_address, transfers.to_address = transfers.to_address, transfers.from_address
    return transfers


@pytest.fixture(params=["compiled", "python"])
def module(request: pytest.FixtureRequest) -> ModuleType | None:
    """The compiled code, and doing without it."""
    return compiled() if request.param == "compiled" else None


def test_changes_that_cancel_out_are_not_written(module: ModuleType | None) -> None:
    ledger = Ledger(module)
    block = make(1)
    ledger.add(packed(block))
    ledger.move(back(make(1).token_transfers))

    assert len(ledger) > 0
    assert ledger.rows() == b""


def test_rows_that_go_meet_the_block_that_comes_in_one_sum(module: ModuleType | None) -> None:
    ledger = Ledger(module)
    ledger.move(back(make(1).token_transfers))
    block = read(encode_block(make(1)), module)
    assert isinstance(block, PackedBlock)
    ledger.add(block)

    assert ledger.rows() == b""


def test_the_zero_address_holds_nothing(module: ModuleType | None) -> None:
    ledger = Ledger(module)
    mint = moves(5)
    mint.from_address = [bytes(20)]
    ledger.move(mint)

    assert len(ledger) == 1


@settings(max_examples=150, deadline=None)
@given(batches=st.lists(some.token_transfers, max_size=4))
def test_both_give_the_same_bytes(batches: list[TokenTransfers]) -> None:
    assert changes(batches, compiled()) == changes(batches, None)


def test_numbers_of_every_size_have_the_same_bytes() -> None:
    """Both signs: what one side gets, the other loses."""
    edges = [base**power + off for base in (2, 10) for power in range(256) for off in (-1, 0, 1)]
    for amount in (edge for edge in edges if edge < 2**256):
        assert changes([moves(amount)], compiled()) == changes([moves(amount)], None)


def test_sums_wider_than_256_bits_have_the_same_bytes() -> None:
    batches = [moves(*[2**256 - 1] * 300)] * 3
    assert changes(batches, compiled()) == changes(batches, None)


def test_transfers_that_contradict_themselves_change_nothing() -> None:
    deltas = compiled().Deltas()

    assert deltas.add(1, TOKEN, b"\x00", LEFT, RIGHT, b"\x00\x01\x02") is False
    assert deltas.add(2, TOKEN, b"\x00\x00", LEFT, RIGHT, b"\x01\x01") is False
    assert deltas.add(1, TOKEN, b"\x00", LEFT, RIGHT[:19], b"\x01") is False

    assert (len(deltas), deltas.rows()) == (0, b"")
    with pytest.raises(OverflowError):
        deltas.add(-1, TOKEN, b"\x00", LEFT, RIGHT, b"\x01")


def test_a_block_that_compiled_code_packed_is_added_in_python_too() -> None:
    block = read(encode_block(make(1)), compiled())
    assert isinstance(block, PackedBlock)
    ledger, decoded = Ledger(None), Ledger(None)
    ledger.add(block)
    decoded.add(packed(make(1)))

    assert ledger.rows() == decoded.rows() != b""
