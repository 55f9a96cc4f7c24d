"""Compiled events: what they decode, and what they refuse."""

from __future__ import annotations

import gzip

import pytest
import sha3
from eth_abi import encode

from indexer.abi.compile import AbiError, DecodeError, EventDecoder, compile_event
from indexer.abi.signatures import parse_signature
from indexer.abi.types import parse_event
from tests.support.shared_data import shared_data
from tests.unit.abi.abi_builders import ALICE, BOB, word, words

ALICE_HEX, BOB_HEX = "0x" + ALICE.hex(), "0x" + BOB.hex()


def event(signature: str) -> EventDecoder:
    return compile_event(parse_signature(signature))


def test_an_event_knows_its_signature_and_topic() -> None:
    transfer = event("event Transfer(address indexed from, address indexed to, uint value);")

    assert transfer.name == "Transfer"
    assert transfer.signature == "Transfer(address,address,uint256)"
    assert transfer.topic0 == sha3.keccak_256(b"Transfer(address,address,uint256)").digest()
    assert transfer.indexed_count == 2


def test_arguments_come_in_the_order_of_the_abi() -> None:
    swap = event("Swap(address indexed sender, int24 tick, bool up, address indexed to, bytes4 tag)")
    data = encode(["int24", "bool", "bytes4"], [-7, True, b"abcd"])

    args = swap.decode([swap.topic0, word(ALICE), word(BOB)], data)

    assert list(args.items()) == [
        ("sender", ALICE_HEX), ("tick", -7), ("up", True), ("to", BOB_HEX), ("tag", b"abcd"),
    ]  # fmt: skip


def test_indexed_dynamic_values_are_shown_as_their_hash() -> None:
    named = event("Named(string indexed name, uint8[2] indexed pair, (uint8 a) indexed point)")

    args = named.decode([named.topic0, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32], b"")

    assert args == {"name": b"\x01" * 32, "pair": b"\x02" * 32, "point": b"\x03" * 32}


def test_tuples_are_objects_and_arrays_are_lists() -> None:
    filled = event("Filled((address who, (uint256 amount, string note)[] parts) order, uint16[2] fees, bytes extra)")
    types = ["(address,(uint256,string)[])", "uint16[2]", "bytes"]
    data = encode(types, [(ALICE_HEX, [(1, "one"), (2, "two")]), [3, 4], b"\xff"])

    assert filled.decode([filled.topic0], data) == {
        "order": {"who": ALICE_HEX, "parts": [{"amount": 1, "note": "one"}, {"amount": 2, "note": "two"}]},
        "fees": [3, 4],
        "extra": b"\xff",
    }


def test_no_parameter_is_lost_for_want_of_a_name_of_its_own() -> None:
    unnamed = event("Odd(uint8, uint8 a, uint8 a, uint8 arg0)")

    args = unnamed.decode([unnamed.topic0], words(1, 2, 3, 4))

    assert list(args.values()) == [1, 2, 3, 4]
    assert list(args) == ["arg0", "a", "a_2", "arg0_3"]


def test_a_function_value_is_24_bytes() -> None:
    called = event("Called(function f)")

    assert called.decode([called.topic0], b"\x01" * 24 + bytes(8)) == {"f": b"\x01" * 24}


def test_text_that_is_not_utf8_is_marked_not_refused() -> None:
    said = event("Said(string text)")
    data = words(32, 4) + b"ab\xff\xfe".ljust(32, b"\0")

    assert said.decode([said.topic0], data) == {"text": "ab\ufffd\ufffd"}


def test_data_behind_the_values_is_overlooked() -> None:
    counted = event("Counted(uint256 n)")

    assert counted.decode([counted.topic0], word(5) + b"\x01") == {"n": 5}


REFUSED = {
    "another topic0": ("E(uint256 a)", [b"\0" * 32], word(1)),
    "no topics": ("E(uint256 a)", [], word(1)),
    "a topic too many": ("E(uint256 a)", [None, word(1)], word(1)),
    "a topic too few": ("E(uint256 indexed a)", [None], b""),
    "a topic of 31 bytes": ("E(uint256 indexed a)", [None, bytes(31)], b""),
    "short data": ("E(uint256 a)", [None], bytes(31)),
    "a dirty address": ("E(address a)", [None], b"\x01" + word(ALICE)[1:]),
    "a dirty address in a topic": ("E(address indexed a)", [None, b"\x01" + word(ALICE)[1:]], b""),
    "a bool of 2": ("E(bool a)", [None], word(2)),
    "a uint8 of 256": ("E(uint8 a)", [None], word(256)),
    "an int8 of 128": ("E(int8 a)", [None], word(128)),
    "an int8 of -129": ("E(int8 a)", [None], (-129).to_bytes(32, "big", signed=True)),
    "bytes4 with a fifth byte": ("E(bytes4 a)", [None], b"12345".ljust(32, b"\0")),
    "a pointer before its frame's values": ("E(bytes a)", [None], words(0, 0)),
    "a pointer out of the data": ("E(bytes a)", [None], words(64, 0)),
    "an absurd pointer": ("E(bytes a)", [None], words(2**256 - 1, 0)),
    "an absurd length": ("E(bytes a)", [None], words(32, 2**256 - 1)),
    "bytes without padding": ("E(bytes a)", [None], words(32, 1) + b"\x01"),
    "bytes with dirty padding": ("E(bytes a)", [None], words(32, 1) + b"\x01\x01".ljust(32, b"\0")),
    "a length cut off": ("E(bytes a)", [None], word(32) + bytes(1)),
    "a tuple cut off": ("E((bytes a, uint256 b) a)", [None], words(32, 64)),
    "an absurd count": ("E(uint256[] a)", [None], words(32, 2**256 - 1)),
    "a pointer out of an array": ("E(string[] a)", [None], words(32, 1, 2**200)),
}


@pytest.mark.parametrize(("signature", "topics", "data"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused(signature: str, topics: list[bytes | None], data: bytes) -> None:
    decoder = event(signature)

    with pytest.raises(DecodeError):
        decoder.decode([decoder.topic0 if topic is None else topic for topic in topics], data)


def test_nested_arrays_that_share_their_data_do_not_unfold() -> None:
    """300 pointers to one array of 300 pointers to one array of 300 numbers: 27 million values from 29 kB."""
    bomb = event("Bomb(uint256[][][] a)")
    pointers = words(300, *[300 * 32] * 300)
    data = word(32) + pointers + pointers + words(300, *[1] * 300)

    with pytest.raises(DecodeError, match="share"):
        bomb.decode([bomb.topic0], data)


BAD_ENTRIES = {
    "no name": {"type": "event", "inputs": []},
    "a function": {"type": "function", "name": "f", "inputs": []},
    "a name that is none": {"type": "event", "name": "a b", "inputs": []},
    "inputs that are no list": {"type": "event", "name": "E", "inputs": {}},
    "an input that is no object": {"type": "event", "name": "E", "inputs": ["uint256"]},
    "an input without a type": {"type": "event", "name": "E", "inputs": [{"name": "a"}]},
    "an input's name that is none": {"type": "event", "name": "E", "inputs": [{"name": "\0", "type": "bool"}]},
    "an unknown type": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "uint7"}]},
    "a type of leading zeros": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "uint08"}]},
    "an unknown word": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "money"}]},
    "bytes33": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "bytes33"}]},
    "an array of length 0": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "bool[0]"}]},
    "13 arrays in each other": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "bool" + "[]" * 13}]},
    "a tuple without parts": {"type": "event", "name": "E", "inputs": [{"name": "a", "type": "tuple"}]},
    "four indexed": {"type": "event", "name": "E", "inputs": [{"type": "bool", "indexed": True}] * 4},
    "anonymous": {"type": "event", "name": "E", "inputs": [], "anonymous": True},
}


@pytest.mark.parametrize("entry", BAD_ENTRIES.values(), ids=BAD_ENTRIES.keys())
def test_a_bad_abi_entry_is_an_abi_error(entry: dict[str, object]) -> None:
    with pytest.raises(AbiError):
        compile_event(entry)


@pytest.mark.parametrize(
    "text",
    ["", "event", "event ()", "E", "E(", "E(uint256", "E(uint256,)", "E(uint256 a b)", "E(uint256) x", "E(,)", "E[]()",
     "E(uint256 a", "E(()", "E(uint256 a; uint256 b)", "1E()"],
)  # fmt: skip
def test_a_bad_signature_is_an_abi_error(text: str) -> None:
    with pytest.raises(AbiError):
        compile_event(parse_signature(text))


def test_signatures_are_read_as_people_write_them() -> None:
    entry = parse_signature(
        " event  A ( address payable indexed who, tuple(uint a,byte b)[2][] x , (bool) ) anonymous ; "
    )

    assert parse_event(entry).signature == "A(address,(uint256,bytes1)[2][],(bool))"
    assert parse_event(entry).anonymous
    assert parse_signature("Nothing()")["inputs"] == []


def test_known_signatures_hash_to_their_topic0() -> None:
    checked = 0
    with gzip.open(shared_data() / "abi" / "topic0_signatures.tsv.gz", "rt") as lines:
        for line in lines:
            if not line.startswith("#"):
                topic0, signature, with_names = line.rstrip("\n").split("\t")
                for form in with_names.split(";"):  # several where contracts name the parameters differently
                    assert parse_event(parse_signature(form)).signature == signature
                assert "0x" + sha3.keccak_256(signature.encode()).hexdigest() == topic0
                checked += 1

    assert checked == 9042
