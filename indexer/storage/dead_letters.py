"""Reading dead letters; the DLQ indexer of the persister writes them."""

from __future__ import annotations

from typing import Any

from psycopg.rows import dict_row

from indexer.storage.jobs import Connection

Row = dict[str, Any]


def groups(connection: Connection, chain_id: int, job_id: int | None, most: int) -> list[Row]:
    """Return open letters by fingerprint: count, first and last seen, block range, an example's message."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            """
            SELECT fingerprint, code, service, stage, count(*) AS count, min(block_number) AS first_block,
                   max(block_number) AS last_block, min(indexed_at) AS first_seen, max(indexed_at) AS last_seen,
                   (array_agg(message ORDER BY id DESC))[1] AS example, max(id) AS example_id
            FROM dead_letters
            WHERE chain_id = %(chain)s AND state = 'open' AND (%(job)s::bigint IS NULL OR job_id = %(job)s)
            GROUP BY fingerprint, code, service, stage ORDER BY count(*) DESC, fingerprint LIMIT %(most)s
            """,
            {"chain": chain_id, "job": job_id, "most": most},
        )
        return cursor.fetchall()


def letters(connection: Connection, chain_id: int, job_id: int | None, most: int) -> list[Row]:
    """Return open letters, oldest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            """
            SELECT id, block_number, job_id, code, service, stage, error_class, message, attempts, replay_count,
                   origin_topic, origin_partition, origin_offset, fingerprint, indexed_at
            FROM dead_letters
            WHERE chain_id = %(chain)s AND state = 'open' AND (%(job)s::bigint IS NULL OR job_id = %(job)s)
            ORDER BY id LIMIT %(most)s
            """,
            {"chain": chain_id, "job": job_id, "most": most},
        )
        return cursor.fetchall()
