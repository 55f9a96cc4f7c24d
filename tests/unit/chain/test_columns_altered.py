"""Columns that no answer can give, though they would hash to the genuine roots, are refused as well."""

from __future__ import annotations

from decimal import Decimal

import pytest

from indexer.chain.parse import parse_block
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.errors import PoisonError
from indexer.records import Header, Logs, Transactions
from tests.unit.chain.builders import ACCESS_LIST, receipt_of, sealed, signed

ETHEREUM = rules_for(1)
Columns = tuple[Header, Transactions, Logs]


def columns() -> Columns:
    """A block of a transaction that failed and one with an access list."""
    sent = [signed(ETHEREUM, gasPrice=50)[0], signed(ETHEREUM, type=1, nonce=8, gasPrice=50, accessList=ACCESS_LIST)[0]]
    return parse_block(*sealed(ETHEREUM, sent, [receipt_of(sent[0], status="0x0"), receipt_of(sent[1])]), ETHEREUM)


def refusal(block: Columns) -> str:
    with pytest.raises(PoisonError) as refused:
        verify(*block, ETHEREUM)
    return refused.value.code


def test_the_genuine_block_is_proven() -> None:
    assert verify(*columns(), ETHEREUM)


@pytest.mark.parametrize(("status", "root"), [(255, None), (-1, None), (None, None), (None, b""), (0, b"\x07" * 32)])
def test_an_outcome_that_no_receipt_has_is_not_taken_for_a_failure(status: int | None, root: bytes | None) -> None:
    block = columns()
    block[1].receipt_status[0], block[1].receipt_root[0] = status, root

    assert refusal(block) == "RECEIPTS_ROOT_MISMATCH"


@pytest.mark.parametrize("prefix", ["0X", "0\x7f", "  "])
def test_an_address_of_an_access_list_begins_as_hex_does(prefix: str) -> None:
    block = columns()
    block[1].extra[1] = (block[1].extra[1] or "").replace('"address":"0x', f'"address":"{prefix}')

    assert refusal(block) == "MALFORMED_BLOCK"


def test_what_is_no_number_is_malformed() -> None:
    block = columns()
    block[1].value[0] = Decimal("NaN")  # type: ignore[call-overload]  # as a numeric column gives it back

    assert refusal(block) == "MALFORMED_BLOCK"
