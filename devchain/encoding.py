"""What a block's hashes are made of: RLP, the ordered Merkle-Patricia trie and the logs bloom.

Written apart from `indexer/chain` on purpose: the chain that tests the verifier must not share its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devchain.secp256k1 import keccak

EMPTY_ROOT = keccak(b"\x80")  # of a trie without entries
EMPTY_UNCLES = keccak(b"\xc0")
_SMALL = [b"\x80"] + [bytes([n]) for n in range(1, 128)]


def _head(short: int, size: int) -> bytes:
    """What stands before `size` bytes; `short` is 0x80 for strings and 0xc0 for lists."""
    if size < 56:
        return bytes((short + size,))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((short + 55 + len(length),)) + length


_STRING_HEADS = [_head(0x80, size) for size in range(1024)]
_LIST_HEADS = [_head(0xC0, size) for size in range(1024)]


def rlp_int(value: int) -> bytes:
    """An integer: big-endian without leading zeros, zero being the empty string (Yellow Paper B)."""
    if value < 128:
        return _SMALL[value]
    size = (value.bit_length() + 7) // 8
    return _STRING_HEADS[size] + value.to_bytes(size, "big")


def rlp_bytes(data: bytes) -> bytes:
    """A byte string."""
    size = len(data)
    if size == 1 and data[0] < 0x80:
        return data
    return (_STRING_HEADS[size] if size < 1024 else _head(0x80, size)) + data


def rlp_list(payload: bytes) -> bytes:
    """A list, given its items encoded and joined."""
    size = len(payload)
    return (_LIST_HEADS[size] if size < 1024 else _head(0xC0, size)) + payload


def ordered_root(values: Sequence[bytes]) -> bytes:
    """The root of a trie that holds `values` under the keys rlp(0), rlp(1), …"""
    if not values:
        return EMPTY_ROOT
    pairs = sorted([(rlp_int(i).hex(), value) for i, value in enumerate(values)])
    return keccak(_node(pairs, 0))


def _node(pairs: Sequence[tuple[str, bytes]], depth: int) -> bytes:
    """The node over sorted (nibbles, value) pairs that agree in their first `depth` nibbles.

    No key is a prefix of another one (RLP is prefix-free), so a branch never carries a value.
    """
    first, last = pairs[0][0], pairs[-1][0]
    if len(pairs) == 1:
        return rlp_list(_hex_prefix(first[depth:], True) + rlp_bytes(pairs[0][1]))
    end = depth
    while first[end] == last[end]:
        end += 1
    if end > depth:
        return rlp_list(_hex_prefix(first[depth:end], False) + _reference(_node(pairs, end)))
    children = [b"\x80"] * 17
    start = 0
    for stop in range(1, len(pairs) + 1):
        nibble = pairs[start][0][depth]
        if stop == len(pairs) or pairs[stop][0][depth] != nibble:
            children[int(nibble, 16)] = _reference(_node(pairs[start:stop], depth + 1))
            start = stop
    return rlp_list(b"".join(children))


def _reference(node: bytes) -> bytes:
    return node if len(node) < 32 else b"\xa0" + keccak(node)


def _hex_prefix(nibbles: str, leaf: bool) -> bytes:
    flags = ("20", "3") if leaf else ("00", "1")
    return rlp_bytes(bytes.fromhex(flags[len(nibbles) & 1] + nibbles))


_bits: dict[bytes, int] = {}


def bloom_of(items: Iterable[bytes]) -> int:
    """The 2048-bit bloom filter of log addresses and topics (Yellow Paper 4.3.1), as an integer."""
    bloom = 0
    for item in items:
        bits = _bits.get(item)
        if bits is None:
            bits = _bits[item] = _item_bits(item)
        bloom |= bits
    if len(_bits) > 200_000:
        _bits.clear()
    return bloom


def _item_bits(item: bytes) -> int:
    digest = keccak(item)
    bits = 0
    for i in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[i : i + 2], "big") & 2047)
    return bits
