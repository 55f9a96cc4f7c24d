"""What is stored and what should be: the ranges of blocks that the checks of `indexer verify` may compare over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from indexer.storage.jobs import Connection
from indexer.verification.sample import spread


class Stretch(NamedTuple):
    """Stored blocks without a hole among them, both ends included."""

    first: int
    last: int


def stretches(connection: Connection, chain_id: int, first: int, last: int) -> list[Stretch]:
    """Return what is stored from first to last, lowest first; a hole ends a stretch and begins the next."""
    rows = connection.execute(
        """
        SELECT min(number), max(number) FROM (
            SELECT number, number - row_number() OVER (ORDER BY number) AS island FROM blocks
            WHERE chain_id = %s AND number BETWEEN %s AND %s) AS numbered
        GROUP BY island ORDER BY 1
        """,
        (chain_id, first, last),
    ).fetchall()
    return [Stretch(int(low), int(high)) for low, high in rows]


def sampled(stored: Sequence[Stretch], most: int) -> list[tuple[Stretch, list[int]]]:
    """Return up to `most` stored heights (at least both ends), spread evenly however large the holes, by stretch."""
    count = sum(last - first + 1 for first, last in stored)
    places = spread(0, count - 1, most) if count else []
    found, before, at = [], 0, 0
    for stretch in stored:
        heights, past = [], before + stretch.last - stretch.first + 1
        while at < len(places) and places[at] < past:
            heights.append(stretch.first + places[at] - before)
            at += 1
        if heights:
            found.append((stretch, heights))
        before = past
    return found


def wanted_by_jobs(connection: Connection, chain_id: int) -> str:
    """Return, as a literal of int8multirange, the blocks of all jobs that are done and what was followed so far.

    Blocks of a job that goes on, waits or was cancelled are not missing yet.
    """
    row = connection.execute(
        """
        SELECT coalesce(range_agg(wanted), '{}')::text FROM (
            SELECT unnest(blocks) AS wanted FROM processing_jobs WHERE chain_id = %(chain)s AND state = 'done'
            UNION ALL
            SELECT int8range(c.stripe * 64 + place, c.stripe * 64 + place + 1)
            FROM processing_jobs j
            JOIN job_coverage c ON c.job_id = j.id
            JOIN chain_state s ON s.chain_id = j.chain_id
            CROSS JOIN generate_series(0, 63) AS place
            WHERE j.chain_id = %(chain)s AND j.reason = 'head'
              AND get_bit(c.wanted, 63 - place) = 1 AND c.stripe * 64 + place <= s.canonical_to) AS asked_for
        """,
        {"chain": chain_id},
    ).fetchone()
    assert row is not None
    return str(row[0])
