"""Accounts and signatures for simulated chains: genuine secp256k1 arithmetic, no secrecy at all.

Nonces are reused from a small precomputed set, which makes a signature one multiplication (2 µs) instead of one
point multiplication, and gives the private keys away. The keys follow from the seed of the chain anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sha3  # type: ignore[import-untyped]  # safe-pysha3 carries no types

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
Point = tuple[int, int]


def keccak(data: bytes) -> bytes:
    """Keccak-256, 32 bytes."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def _add(a: Point, b: Point) -> Point:
    """The sum of two points, neither infinity nor each other's negative (the seeds never meet those)."""
    rise, run = (3 * a[0] * a[0], 2 * a[1]) if a == b else (b[1] - a[1], b[0] - a[0])
    slope = rise * pow(run, -1, P) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def _multiply(scalar: int) -> Point:
    """`scalar` times the generator, for 0 < scalar < N."""
    result: Point | None = None
    power = _G
    while scalar:
        if scalar & 1:
            result = power if result is None else _add(result, power)
        power = _add(power, power)
        scalar >>= 1
    assert result is not None
    return result


def _scalar(label: str) -> int:
    return int.from_bytes(keccak(label.encode()), "big") % (N - 2**32) + 1


def _consecutive(first: int, count: int) -> Iterator[tuple[int, Point]]:
    """`count` scalars from `first` on with their points; one addition each instead of a multiplication."""
    point = _multiply(first)
    for scalar in range(first, first + count):
        yield scalar, point
        point = _add(point, _G)


@dataclass(frozen=True, slots=True)
class Account:
    """A private key and the address that belongs to it."""

    key: int
    address: bytes  # 20 bytes


def accounts(seed: str, count: int) -> list[Account]:
    """The first `count` accounts of a seed."""
    return [
        Account(scalar, keccak(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[12:])
        for scalar, (x, y) in _consecutive(_scalar(f"accounts:{seed}"), count)
    ]


class Signer:
    """Signs digests with nonces from a fixed set of 64 (see the module's warning)."""

    def __init__(self, seed: str) -> None:
        points = _consecutive(_scalar(f"nonces:{seed}"), 64)
        self._nonces = [(pow(k, -1, N), x % N, y & 1) for k, (x, y) in points]

    def sign(self, digest: bytes, key: int) -> tuple[int, int, int]:
        """Return (y parity, r, s) with s in the lower half (EIP-2)."""
        inverse, r, parity = self._nonces[digest[0] & 63]
        s = inverse * (int.from_bytes(digest, "big") + r * key) % N
        if s > N // 2:
            return parity ^ 1, r, N - s
        return parity, r, s
