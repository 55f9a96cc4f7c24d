"""What is known of the canonical chain at some heights: hash and generation are one fact, read in one statement."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from indexer.storage.engine import Connection


@dataclass(frozen=True, slots=True)
class Expected:
    """What an item about a height has to say; without a hash the height is not above the recorded finalized one."""

    hash: bytes | None
    generation: int


def expected(connection: Connection, chain_id: int, numbers: Collection[int]) -> dict[int, Expected]:
    """Return for each height the hash that `headers` has and a generation, read together (PROTOCOL 5)."""
    rows = connection.execute(_EXPECTED, {"chain_id": chain_id, "numbers": sorted(set(numbers))}).fetchall()
    return {int(number): Expected(hash_, int(generation)) for number, hash_, generation in rows}


_EXPECTED = """
    SELECT x.number, h.hash, coalesce(h.generation, s.generation, 0)
    FROM unnest(%(numbers)s::bigint[]) AS x (number)
    LEFT JOIN headers h ON h.chain_id = %(chain_id)s AND h.number = x.number
    LEFT JOIN chain_state s ON s.chain_id = %(chain_id)s
"""
