"""RLP, the trie and the bloom filter against independent implementations."""

from __future__ import annotations

import eth_hash.auto
import pytest
import rlp as reference
from hypothesis import given
from hypothesis import strategies as st

from indexer.chain import rlp
from indexer.chain.bloom import BITS, CACHED, BloomBits, to_bytes
from indexer.chain.keccak import keccak256
from indexer.chain.trie import EMPTY_ROOT, ordered_root

items: st.SearchStrategy[rlp.Item] = st.recursive(
    st.binary(max_size=80) | st.integers(0, 2**256 - 1), lambda inner: st.lists(inner, max_size=6), max_leaves=20
)


def as_bytes(item: rlp.Item) -> object:
    """The reference knows integers as big-endian bytes only."""
    if isinstance(item, int):
        return item.to_bytes((item.bit_length() + 7) // 8, "big")
    return [as_bytes(child) for child in item] if isinstance(item, list) else item


@given(items)
def test_rlp_is_that_of_the_reference(item: rlp.Item) -> None:
    assert rlp.encode(item) == reference.encode(as_bytes(item))


@pytest.mark.parametrize("size", [0, 1, 55, 56, 255, 256, 65535, 65536])
def test_rlp_of_long_strings_and_lists_is_that_of_the_reference(size: int) -> None:
    assert rlp.string(b"x" * size) == reference.encode(b"x" * size)
    assert rlp.sequence(b"x" * size) == reference.encode([b"x"] * size)


def test_a_cache_starts_again_when_it_is_full() -> None:
    cache = rlp.Cache(rlp.integer, limit=2)

    assert [cache[value] for value in (1, 2, 3)] == [b"\x01", b"\x02", b"\x03"]
    assert list(cache) == [3]


def naive_root(pairs: dict[tuple[int, ...], bytes]) -> bytes:
    """The root of any Merkle Patricia trie, as the Yellow Paper defines it and without a thought for speed."""

    def hex_prefix(nibbles: tuple[int, ...], leaf: bool) -> bytes:
        flag = 2 * leaf + len(nibbles) % 2
        padded = (flag, *nibbles) if len(nibbles) % 2 else (flag, 0, *nibbles)
        return bytes(16 * padded[i] + padded[i + 1] for i in range(0, len(padded), 2))

    def node(pairs: dict[tuple[int, ...], bytes]) -> object:
        if not pairs:
            return b""
        if len(pairs) == 1:
            ((key, value),) = pairs.items()
            return [hex_prefix(key, True), value]
        first, last = min(pairs), max(pairs)
        shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        if shared:
            return [hex_prefix(first[:shared], False), short({key[shared:]: pairs[key] for key in pairs})]
        branches = [short({k[1:]: v for k, v in pairs.items() if k and k[0] == n}) for n in range(16)]
        return [*branches, pairs.get((), b"")]

    def short(pairs: dict[tuple[int, ...], bytes]) -> object:
        inner = node(pairs)
        encoded = reference.encode(inner)
        return inner if len(encoded) < 32 else eth_hash.auto.keccak(encoded)

    return eth_hash.auto.keccak(reference.encode(node(pairs)))


def naive_ordered_root(values: list[bytes]) -> bytes:
    keys = [reference.encode(as_bytes(index)) for index in range(len(values))]
    nibbles = [tuple(n for byte in key for n in (byte >> 4, byte & 15)) for key in keys]
    return naive_root(dict(zip(nibbles, values, strict=True)))


@pytest.mark.parametrize("count", [*range(35), *range(126, 150), 255, 256, 257, 258, 300, 513, 724])
def test_the_root_of_a_list_is_that_of_a_naive_trie(count: int) -> None:
    values = [b"%d" % index * 40 for index in range(count)]

    assert ordered_root(values) == naive_ordered_root(values)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=20))
def test_short_values_stand_in_their_parents(values: list[bytes]) -> None:
    assert ordered_root(values) == naive_ordered_root(values)


def test_the_root_of_nothing_is_the_empty_root() -> None:
    assert ordered_root([]) == EMPTY_ROOT == keccak256(b"\x80")


@given(st.binary(min_size=20, max_size=20) | st.binary(min_size=32, max_size=32))
def test_bloom_bits_are_those_of_the_yellow_paper(value: bytes) -> None:
    digest = eth_hash.auto.keccak(value)
    expected = sum({1 << (int.from_bytes(digest[i : i + 2], "big") % 2048) for i in (0, 2, 4)})

    assert BITS[value] == expected
    assert to_bytes(BITS[value]) == expected.to_bytes(256, "big")


def test_the_bloom_cache_is_bounded_and_a_missing_topic_has_no_bits() -> None:
    bits = BloomBits()

    for index in range(CACHED + 10):
        bits[index.to_bytes(32, "big")]

    assert len(bits) < CACHED
    assert bits[None] == 0
