"""Keccak-256 as Ethereum uses it (the padding from before FIPS 202)."""

from __future__ import annotations

from sha3 import keccak_256  # type: ignore[import-untyped]  # safe-pysha3 ships no types

# Hot loops call `hasher(data).digest()` themselves: a Python function around it costs a tenth of the hash.
hasher = keccak_256


def keccak256(data: bytes) -> bytes:
    """Return the 32 bytes of the hash."""
    digest: bytes = hasher(data).digest()
    return digest
