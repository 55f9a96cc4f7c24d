"""Column layouts: the bytes that schemas/README.md promises, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.codec.columns import column
from indexer.errors import PoisonError

A, B = b"\xaa" * 4, b"\xbb" * 4


@pytest.mark.parametrize(
    ("layout", "values", "packed"),
    [
        ("fixed(4)", [A, B], "aaaaaaaabbbbbbbb"),
        ("uint(63)", [1, 255], "01ff"),
        ("uint(63)", [1, 256], "00010100"),
        ("uint(63)", [2**16], "00010000"),
        ("uint(256)", [2**32, 0], "00000001000000000000000000000000"),
        ("uint(256)", [2**64], "00" * 7 + "01" + "00" * 8),
        ("uint(256)", [2**256 - 1], "ff" * 32),
        ("code(transfer, deposit)", ["deposit", "transfer"], "0100"),
        ("blob", [b"\x07", b""], "0000000100000000" + "07"),
        ("text", ["é"], "00000002" + "c3a9"),
        ("optional uint(63)", [], ""),
        ("optional uint(63)", [None, None], ""),
        ("optional uint(63)", [3, 4], "01" + "0304"),
        ("optional fixed(4)", [None, A], "02" + "0001" + "aaaaaaaa"),
    ],
)
def test_a_column_has_the_documented_bytes(layout: str, values: list[Any], packed: str) -> None:
    _, pack, unpack = column("any", layout)

    assert pack(values).hex() == packed
    assert unpack(bytes.fromhex(packed), len(values)) == values


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
def test_a_reader_accepts_numbers_wider_than_they_need_to_be(width: int) -> None:
    assert column("any", "uint(63)").unpack((5).to_bytes(width) * 3, 3) == [5, 5, 5]


@pytest.mark.parametrize(
    ("layout", "packed", "rows"),
    [
        ("fixed(4)", "aaaaaa", 1),
        ("fixed(4)", "", 1),
        ("fixed(4)", "", -1),
        ("uint(63)", "000000", 1),
        ("uint(63)", "000000", 2),
        ("uint(63)", "00", 0),
        ("uint(63)", "00", -1),
        ("uint(63)", "", 2**60),
        ("uint(256)", "00" * 33, 2),
        ("code(a, b)", "02", 1),
        ("code(a, b)", "0000", 1),
        ("blob", "000000", 1),
        ("blob", "00000002ff", 1),
        ("blob", "00000000ff", 1),
        ("blob", "", -1),
        ("optional uint(63)", "03", 1),
        ("optional uint(63)", "0202ff", 1),
        ("optional uint(63)", "0201", 1),
        ("optional uint(63)", "02", 2**60),
    ],
)
def test_bytes_that_contradict_the_number_of_rows_are_inconsistent(layout: str, packed: str, rows: int) -> None:
    with pytest.raises(PoisonError) as raised:
        column("any", layout).unpack(bytes.fromhex(packed), rows)

    assert raised.value.code == "INCONSISTENT_COLUMNS"


@given(st.sampled_from(["uint(256)", "blob", "text", "optional blob", "fixed(4)"]), st.binary(max_size=40), st.data())
def test_any_bytes_are_a_column_or_refused(layout: str, packed: bytes, data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 8))

    try:
        values = column("any", layout).unpack(packed, rows)
    except (PoisonError, UnicodeDecodeError):
        return

    assert len(values) == rows


@pytest.mark.parametrize("layout", ["", "floats", "uint[8]", "maybe uint(63)"])
def test_a_layout_that_nobody_defined_is_an_error_of_the_schema(layout: str) -> None:
    with pytest.raises(ValueError, match="unknown column layout"):
        column("any", layout)
