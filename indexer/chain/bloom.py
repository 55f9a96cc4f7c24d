"""The 2048-bit bloom filter of log addresses and topics (Yellow Paper 4.3.1), as Python ints."""

from __future__ import annotations

from indexer.chain.keccak import hasher

SIZE = 256  # bytes
CACHED = 1 << 15  # an entry is about 450 bytes, so the cache stays below 15 MB

_BIT = tuple(1 << bit for bit in range(2048))


class BloomBits(dict[bytes | None, int]):
    """The three bits of an address or topic as an int; None has none, so that missing topics need no test."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__({None: 0})

    def __missing__(self, key: bytes) -> int:
        if len(self) >= CACHED:
            self.clear()
            self[None] = 0
        head = int.from_bytes(hasher(key).digest()[:6], "big")
        bits = _BIT[head >> 32 & 2047] | _BIT[head >> 16 & 2047] | _BIT[head & 2047]
        self[key] = bits
        return bits


BITS = BloomBits()


def to_bytes(bits: int) -> bytes:
    """Return the filter as the 256 bytes that headers and receipts carry."""
    return bits.to_bytes(SIZE, "big")
