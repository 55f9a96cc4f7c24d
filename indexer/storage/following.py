"""The job that follows a chain's head, as the command line makes and shows it; the follower's own statements are in
services/producer/records.py."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from indexer.errors import UserError
from indexer.storage.jobs import LIVE, Connection


@dataclass(frozen=True, slots=True)
class Following:
    """How far the follower of a chain is."""

    job: int
    state: str  # of the job
    confirmations: int | None  # None: what the node calls finalized
    tip: int  # the highest block that was seen; one below the first before any was
    finalized_to: int | None
    canonical_to: int | None
    generation: int
    forks: int
    stored_to: int | None  # the highest stored block
    followed_by: str | None
    paused: str | None  # why the chain stands still


def start(connection: Connection, chain_id: int, first: int, confirmations: int | None) -> int:
    """Queue the job that follows the chain from block `first` on; raises UserError when there is one."""
    try:
        row = connection.execute(
            """
            INSERT INTO processing_jobs (chain_id, state, priority, strategy, reason, blocks, total, batch_size,
                                         window_blocks, position, confirmations)
            VALUES (%s, 'queued', 'high', 'follow', 'head', '{}', 0, 1, 1, %s, %s) RETURNING id
            """,
            (chain_id, Jsonb({"next": first}), confirmations),
        ).fetchone()
    except psycopg.errors.UniqueViolation:
        raise UserError(f"chain {chain_id} is followed already", code="FOLLOWED") from None
    assert row is not None
    return int(row[0])


def following(connection: Connection, chain_id: int) -> Following | None:
    """Return the live job that follows the chain, with what the follower recorded."""
    with connection.cursor(row_factory=class_row(Following)) as cursor:
        return cursor.execute(_FOLLOWING, {"chain_id": chain_id, "live": list(LIVE)}).fetchone()


def continues_at(connection: Connection, chain_id: int) -> int | None:
    """Return the block after the last one that was ever followed; None when the chain never was."""
    row = connection.execute(
        "SELECT max((position ->> 'next')::bigint) FROM processing_jobs WHERE chain_id = %s AND reason = 'head'",
        (chain_id,),
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def go_on(connection: Connection, chain_id: int, rollback_to: int | None) -> None:
    """End the pause after a fork that was too deep: look again, or first take back all above `rollback_to`.

    Raises UserError where nothing is paused.
    """
    with connection.transaction():
        freed = connection.execute(
            "UPDATE chain_state SET paused = NULL WHERE chain_id = %s AND paused IS NOT NULL", (chain_id,)
        ).rowcount
        if not freed:
            raise not_paused(chain_id)
        if rollback_to is not None:
            connection.execute(
                "UPDATE processing_jobs SET position = position || %s"
                " WHERE chain_id = %s AND reason = 'head' AND state = ANY(%s)",
                (Jsonb({"rollback_to": rollback_to}), chain_id, list(LIVE)),
            )


def paused(connection: Connection, chain_id: int) -> bool:
    row = connection.execute("SELECT paused IS NOT NULL FROM chain_state WHERE chain_id = %s", (chain_id,)).fetchone()
    return row is not None and bool(row[0])


def not_paused(chain_id: int) -> UserError:
    return UserError(f"chain {chain_id} is not paused by a fork", code="NOT_PAUSED")


def known_at(connection: Connection, chain_id: int, most: int) -> tuple[int, list[bytes]] | None:
    """Return the highest height, `most` at most, of a stored block or a header, and what its hash is there."""
    row = connection.execute(_KNOWN_AT, {"chain_id": chain_id, "most": most}).fetchone()
    return None if row is None else (int(row[0]), [bytes(each) for each in row[1]])


def stored_above(connection: Connection, chain_id: int, number: int) -> tuple[int, int | None]:
    """Return how many blocks are stored above a height, and the highest of them."""
    row = connection.execute(
        "SELECT count(*), max(number) FROM blocks WHERE chain_id = %s AND number > %s", (chain_id, number)
    ).fetchone()
    assert row is not None
    return int(row[0]), None if row[1] is None else int(row[1])


_KNOWN_AT = """
    SELECT number, array_agg(DISTINCT hash) FROM (
        (SELECT number, hash FROM blocks WHERE chain_id = %(chain_id)s AND number <= %(most)s
         ORDER BY number DESC LIMIT 1)
        UNION ALL
        (SELECT number, hash FROM headers WHERE chain_id = %(chain_id)s AND number <= %(most)s
         ORDER BY number DESC LIMIT 1)
    ) AS x GROUP BY number ORDER BY number DESC LIMIT 1
"""

_FOLLOWING = """
    SELECT j.id AS job, j.state, j.confirmations, (j.position ->> 'next')::bigint - 1 AS tip, s.finalized_to,
           s.canonical_to, coalesce(s.generation, 0) AS generation,
           (SELECT count(*) FROM rollbacks r WHERE r.chain_id = j.chain_id) AS forks,
           (SELECT max(number) FROM blocks b WHERE b.chain_id = j.chain_id) AS stored_to,
           CASE WHEN j.lease_until > clock_timestamp() THEN j.lease_owner END AS followed_by, s.paused
    FROM processing_jobs j LEFT JOIN chain_state s ON s.chain_id = j.chain_id
    WHERE j.chain_id = %(chain_id)s AND j.reason = 'head' AND j.state = ANY(%(live)s)
"""
