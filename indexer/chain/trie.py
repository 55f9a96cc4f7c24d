"""The root of the Merkle Patricia trie (Yellow Paper, appendix D) over a list, keyed by rlp(index).

The keys are known as soon as the length is, and so is the shape of the trie: it is worked out once per length and
kept as a plan. What is left for a block is one hash per leaf and one per branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from indexer.chain import rlp
from indexer.chain.keccak import hasher
from indexer.chain.rlp import LIST_PREFIX, STRING_PREFIX, Cache

EMPTY_ROOT = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")

_HASH = b"\xa0"  # the prefix of a 32-byte string


@dataclass(frozen=True, slots=True)
class Plan:
    """How to build the trie of `n` values.

    References to nodes are kept in one list: the n leaves first, then the inner nodes in the order of `steps`, and
    last the empty reference (index -1). A step is (hex-prefix path, child) for an extension, (None, 16 children)
    for a branch.
    """

    heads: tuple[Cache, ...]  # per leaf: length of the value -> all bytes of the node before the value
    paths: tuple[bytes, ...]  # per leaf: its encoded hex-prefix path
    steps: tuple[tuple[bytes | None, tuple[int, ...]], ...]


def _hex_prefix(nibbles: Sequence[int], leaf: bool) -> bytes:
    flag = 2 if leaf else 0
    whole = [flag + 1, *nibbles] if len(nibbles) & 1 else [flag, 0, *nibbles]
    return rlp.string(bytes(a << 4 | b for a, b in zip(whole[::2], whole[1::2], strict=True)))


@lru_cache(maxsize=64)
def _leaf_heads(path: bytes) -> Cache:
    def head(length: int) -> bytes:
        prefix = STRING_PREFIX[length]
        return LIST_PREFIX[len(path) + len(prefix) + length] + path + prefix

    return Cache(head, rlp.TABLE)


class _Planner:
    def __init__(self, count: int) -> None:
        keys = [rlp.integer(index) for index in range(count)]
        self.nibbles = [[n for byte in key for n in (byte >> 4, byte & 15)] for key in keys]
        self.paths = [b""] * count
        self.steps: list[tuple[bytes | None, tuple[int, ...]]] = []

    def place(self, indexes: list[int], depth: int) -> int:
        """Plan the node above `indexes`, whose keys agree in `depth` nibbles; return its reference."""
        first = self.nibbles[indexes[0]]
        if len(indexes) == 1:
            self.paths[indexes[0]] = _hex_prefix(first[depth:], leaf=True)
            return indexes[0]
        shared = depth
        while len({self.nibbles[index][shared] for index in indexes}) == 1:
            shared += 1
        if shared > depth:
            return self._step(_hex_prefix(first[depth:shared], leaf=False), (self.place(indexes, shared),))
        groups: list[list[int]] = [[] for _ in range(16)]
        for index in indexes:
            groups[self.nibbles[index][depth]].append(index)
        return self._step(None, tuple(self.place(group, depth + 1) if group else -1 for group in groups))

    def _step(self, path: bytes | None, children: tuple[int, ...]) -> int:
        self.steps.append((path, children))
        return len(self.paths) + len(self.steps) - 1


@lru_cache(maxsize=256)
def plan(count: int) -> Plan:
    """Return the shape of the trie of `count` (at least 1) values."""
    planner = _Planner(count)
    planner.place(list(range(count)), 0)
    return Plan(tuple(_leaf_heads(path) for path in planner.paths), tuple(planner.paths), tuple(planner.steps))


def ordered_root(values: Sequence[bytes]) -> bytes:
    """Return the root over `values`, item i under the key rlp(i)."""
    if not values:
        return EMPTY_ROOT
    shape = plan(len(values))
    if min(map(len, values)) < 32:
        return _root_of_short(shape, values)
    hash_ = hasher
    references: list[bytes] = [
        _HASH + hash_(head[len(value)] + value).digest() for head, value in zip(shape.heads, values, strict=True)
    ]
    for path, children in shape.steps:
        # a branch of values of 32 bytes and more has at least two hashes in it: never short enough to be inlined
        payload = b"".join([references[child] if child >= 0 else b"\x80" for child in children])
        payload = payload + b"\x80" if path is None else path + payload
        references.append(_HASH + hash_(LIST_PREFIX[len(payload)] + payload).digest())
    root = references[-1]
    return root[1:]


def _root_of_short(shape: Plan, values: Sequence[bytes]) -> bytes:
    """Do the same where nodes may be shorter than a hash and then stand in their parent themselves."""
    nodes = [rlp.sequence(path, rlp.string(value)) for path, value in zip(shape.paths, values, strict=True)]

    def reference(child: int) -> bytes:
        if child < 0:
            return b"\x80"
        node = nodes[child]
        return node if len(node) < 32 else bytes(_HASH + hasher(node).digest())

    for path, children in shape.steps:
        joined = b"".join([reference(child) for child in children])
        nodes.append(rlp.sequence(joined, b"\x80") if path is None else rlp.sequence(path, joined))
    root: bytes = hasher(nodes[-1]).digest()
    return root
