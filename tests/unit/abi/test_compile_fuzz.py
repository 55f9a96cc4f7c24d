"""Compiled events against eth-abi: the same values from the same bytes, and the same refusals."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from eth_abi import decode, encode
from eth_abi.grammar import ABIType, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.abi.args import to_json
from indexer.abi.compile import DecodeError, EventDecoder, compile_event
from indexer.abi.signatures import parse_signature
from tests.support.shared_data import shared_data

NESTED = [
    "Nested((uint8 a, (bytes b, int64[2] c)[] d, string e) one, uint256[][3] two, string[] three,"
    " (bool, bytes3)[2] four)",
    "Deep(uint16[2][] a, bytes[][] b, (address, (uint256, uint256)[2])[] c, bool[3][2] d, uint256 e)",
    "Fixed((uint8, uint8)[2] a, string b, uint256[2][2] c, bytes d)",
]
MISSING = object()


@cache
def known_events() -> list[tuple[EventDecoder, list[str], list[bool]]]:
    """Each event once, with the types of its parameters and whether they are indexed."""
    entries = [parse_signature(signature) for signature in NESTED]
    for path in sorted((shared_data() / "abi").glob("*.json")):
        entries += [entry for entry in json.loads(path.read_text())["abi"] if entry["type"] == "event"]
    unique = {json.dumps(entry, sort_keys=True): entry for entry in entries}
    return [
        (compile_event(entry), [canonical(i) for i in entry["inputs"]], [bool(i["indexed"]) for i in entry["inputs"]])
        for entry in unique.values()
    ]


def canonical(parameter: dict[str, Any]) -> str:
    """The type as eth-abi writes it, made here from the ABI entry so as not to trust what is tested."""
    if parameter["type"].startswith("tuple"):
        inner = ",".join(map(canonical, parameter["components"]))
        return f"({inner}){parameter['type'][5:]}"
    return str(parameter["type"])


def values_of(kind: ABIType) -> st.SearchStrategy[Any]:
    if kind.arrlist:
        dimension = kind.arrlist[-1]
        size = {"min_size": dimension[0], "max_size": dimension[0]} if dimension else {"max_size": 3}
        return st.lists(values_of(kind.item_type), **size)
    if hasattr(kind, "components"):
        return st.tuples(*map(values_of, kind.components))
    if kind.base == "uint":
        return st.integers(0, 2**kind.sub - 1)
    if kind.base == "int":
        return st.integers(-(2 ** (kind.sub - 1)), 2 ** (kind.sub - 1) - 1)
    if kind.base == "bytes":
        return st.binary(max_size=70) if kind.sub is None else st.binary(min_size=kind.sub, max_size=kind.sub)
    if kind.base == "address":
        return st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
    return st.booleans() if kind.base == "bool" else st.text(max_size=40)


def events() -> st.SearchStrategy[tuple[EventDecoder, list[str], list[bool]]]:
    return st.integers(0, 10**6).map(lambda n: known_events()[n % len(known_events())])


def word_types(types: list[str], indexed: list[bool]) -> tuple[list[str], list[str]]:
    """The types in the topics (bytes32 where only the hash is there) and those in the data."""
    hashed = [t if "[" not in t and "(" not in t and t not in {"string", "bytes"} else "bytes32" for t in types]
    pairs = list(zip(types, hashed, indexed, strict=True))
    return [h for _, h, in_topic in pairs if in_topic], [t for t, _, in_topic in pairs if not in_topic]


def untupled(value: object) -> object:
    """Arrays and tuples alike as lists of their values, whatever either library makes of them."""
    if isinstance(value, dict):
        return [untupled(item) for item in value.values()]
    return [untupled(item) for item in value] if isinstance(value, list | tuple) else value


def ours(decoder: EventDecoder, topics: list[bytes], data: bytes) -> object:
    try:
        args = decoder.decode([decoder.topic0, *topics], data)
    except DecodeError:
        return MISSING
    json.loads(to_json(args))
    return args


def theirs(types: list[str], data: bytes) -> object:
    try:
        return decode(types, data)
    except UnicodeDecodeError:
        return "not UTF-8"
    except Exception:  # eth-abi has OverflowError and others besides its own
        return MISSING


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_values_come_back_as_they_were_encoded(draw: st.DataObject) -> None:
    decoder, types, indexed = draw.draw(events())
    in_topics, in_data = word_types(types, indexed)
    topic_values = [draw.draw(values_of(parse(kind))) for kind in in_topics]
    data_values = [draw.draw(values_of(parse(kind))) for kind in in_data]
    topics = [encode([kind], [value]) for kind, value in zip(in_topics, topic_values, strict=True)]

    args = decoder.decode([decoder.topic0, *topics], encode(in_data, data_values))

    found = list(zip(args.values(), indexed, strict=True))
    assert [value for value, in_topic in found if in_topic] == topic_values
    assert [untupled(value) for value, in_topic in found if not in_topic] == untupled(data_values)
    json.loads(to_json(args))


SMALL = st.sampled_from([0, 1, 2, 3, 31, 32, 33, 63, 64, 96, 128, 160, 255, 256, 2**64, 2**255, 2**256 - 1])


def mutated(draw: st.DataObject, data: bytes) -> bytes:
    """Overwrite a few words with telling numbers, or bytes with any, and cut the end off, sometimes."""
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(0, 3))):
        if len(changed) >= 32:
            at = 32 * draw.draw(st.integers(0, len(changed) // 32 - 1))
            changed[at : at + 32] = draw.draw(SMALL).to_bytes(32, "big")
    for _ in range(draw.draw(st.integers(0, 2))):
        if changed:
            changed[draw.draw(st.integers(0, len(changed) - 1))] = draw.draw(st.integers(0, 255))
    end = draw.draw(st.one_of(st.just(len(changed)), st.integers(0, len(changed))))
    return bytes(changed[:end])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_mutated_data_is_read_or_refused_as_by_eth_abi(draw: st.DataObject) -> None:
    decoder, types, indexed = draw.draw(events())
    in_topics, in_data = word_types(types, indexed)
    data = mutated(draw, encode(in_data, [draw.draw(values_of(parse(kind))) for kind in in_data]))
    topics = [draw.draw(st.binary(max_size=20)).rjust(32, b"\0") for _ in in_topics]

    in_topic_values = [theirs([kind], topic) for kind, topic in zip(in_topics, topics, strict=True)]
    expected = theirs(in_data, data)
    args = ours(decoder, topics, data)

    if MISSING in (expected, *in_topic_values):
        assert args is MISSING
    elif expected != "not UTF-8":
        assert isinstance(args, dict)
        values = [value for value, in_topic in zip(args.values(), indexed, strict=True) if not in_topic]
        assert untupled(values) == untupled(expected)


@settings(max_examples=200, deadline=None)
@given(events(), st.lists(st.binary(max_size=33), max_size=4), st.binary(max_size=300))
def test_any_bytes_raise_nothing_but_a_decode_error(
    event: tuple[EventDecoder, list[str], list[bool]], topics: list[bytes], data: bytes
) -> None:
    ours(event[0], topics, data)
