"""Dead letters for the command line: reading them, and the states that an operator gives them.

The DLQ indexer of the persister makes the rows; persisters resolve them when a block is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from indexer.replay.selection import Selection
from indexer.storage.jobs import Connection

Row = dict[str, Any]

REPLAYED_SECONDS = 600.0  # after this without an outcome a replayed letter is open again (PROTOCOL 16)

# Conditions that are not given are NULL; `state` is left to the statement.
SELECTED = """
    l.chain_id = %(chain)s
    AND (%(ids)s::bigint[] IS NULL OR l.id = ANY(%(ids)s))
    AND (%(fingerprint)s::text IS NULL OR starts_with(l.fingerprint, %(fingerprint)s))
    AND (%(codes)s::text[] IS NULL OR l.code = ANY(%(codes)s))
    AND (%(service)s::text IS NULL OR l.service = %(service)s)
    AND (%(job)s::bigint IS NULL OR l.job_id = %(job)s)
    AND (%(first_block)s::bigint IS NULL OR l.block_number >= %(first_block)s)
    AND (%(last_block)s::bigint IS NULL OR l.block_number <= %(last_block)s)
    AND (%(since)s::timestamptz IS NULL OR l.indexed_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR l.indexed_at < %(until)s)
    AND (%(replayed_at_most)s::int IS NULL OR l.replay_count <= %(replayed_at_most)s)
"""


def groups(connection: Connection, chain_id: int, selection: Selection, most: int) -> list[Row]:
    """Return selected letters by fingerprint: count, first and last seen, blocks, an example's message.

    `ranges` are the runs of blocks with at most 64 missing between two of them, the first few; `total` is how many
    groups there are, however many are asked for.
    """
    return _rows(connection, _GROUPS, chain_id, selection, most)


def letters(connection: Connection, chain_id: int, selection: Selection, most: int) -> list[Row]:
    """Return selected letters, oldest first; `total` is how many there are, however many are asked for."""
    return _rows(connection, _LETTERS, chain_id, selection, most)


def by_state(connection: Connection, chain_id: int, selection: Selection) -> dict[str, int]:
    """Return how many letters the conditions fit in each state, whatever state is asked for."""
    rows = connection.execute(_BY_STATE, {**selection.parameters(), "chain": chain_id}).fetchall()
    return {str(state): int(count) for state, count in rows}


def letter(connection: Connection, chain_id: int, letter_id: int) -> Row | None:
    """Return everything about one letter."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT * FROM dead_letters WHERE id = %s AND chain_id = %s", (letter_id, chain_id))
        return cursor.fetchone()


def whole(connection: Connection, chain_id: int, selection: Selection, after: int, most: int) -> list[Row]:
    """Return everything about selected letters with ids above `after`, in the order of their ids."""
    parameters = {**selection.parameters(), "chain": chain_id, "after": after, "most": most}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_WHOLE, parameters).fetchall()


def set_state(
    connection: Connection, chain_id: int, selection: Selection, state: str, audit: Mapping[str, str | None]
) -> int:
    """Give the selected letters another state and note it; one transaction. `audit`: actor, action, note."""
    parameters = {**selection.parameters(), "chain": chain_id, "to": state}
    with connection.transaction():
        changed = connection.execute(_SET_STATE, parameters).rowcount
        note_action(connection, chain_id, selection, changed, audit)
    return changed


def note_action(
    connection: Connection,
    chain_id: int,
    selection: Selection,
    count: int,
    audit: Mapping[str, str | None],
    run: int | None = None,
) -> None:
    """Keep who did what to how many letters."""
    connection.execute(
        "INSERT INTO letter_actions (chain_id, actor, action, selection, letters, run_id, note)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (chain_id, audit["actor"], audit["action"], Jsonb(selection.in_words()), count, run, audit.get("note")),
    )


def reopen_overdue(connection: Connection, chain_id: int, seconds: float = REPLAYED_SECONDS) -> int:
    """Open what was replayed so long ago and has no outcome: retention or a fork may have taken the item."""
    return connection.execute(_REOPEN, {"chain": chain_id, "seconds": seconds}).rowcount


def _rows(connection: Connection, statement: Any, chain_id: int, selection: Selection, most: int) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(statement, {**selection.parameters(), "chain": chain_id, "most": most})
        return cursor.fetchall()


_GROUPS = f"""
    WITH chosen AS (
        SELECT fingerprint, code, service, stage, block_number, indexed_at, id, message
        FROM dead_letters l WHERE {SELECTED} AND l.state = %(state)s
    ), grouped AS (
        SELECT fingerprint, code, service, stage, count(*) AS count, min(block_number) AS first_block,
               max(block_number) AS last_block, min(indexed_at) AS first_seen, max(indexed_at) AS last_seen,
               (array_agg(message ORDER BY id DESC))[1] AS example, max(id) AS example_id,
               count(*) OVER () AS total
        FROM chosen GROUP BY fingerprint, code, service, stage ORDER BY count(*) DESC, fingerprint LIMIT %(most)s
    ), steps AS (
        SELECT DISTINCT fingerprint, block_number, block_number - lag(block_number) OVER near > 64 AS begins
        FROM chosen WHERE block_number IS NOT NULL
        WINDOW near AS (PARTITION BY fingerprint ORDER BY block_number)
    ), islands AS (
        SELECT fingerprint, block_number, count(*) FILTER (WHERE begins) OVER so_far AS island FROM steps
        WINDOW so_far AS (PARTITION BY fingerprint ORDER BY block_number)
    ), ranges AS (
        SELECT fingerprint, island, min(block_number) AS first, max(block_number) AS last
        FROM islands GROUP BY fingerprint, island
    )
    SELECT g.*, coalesce(
        (SELECT jsonb_agg(jsonb_build_array(r.first, r.last) ORDER BY r.first) FROM ranges r
         WHERE r.fingerprint = g.fingerprint AND r.island < 8), '[]') AS ranges
    FROM grouped g ORDER BY g.count DESC, g.fingerprint
"""  # noqa: S608  # constants only

_LETTERS = f"""
    SELECT id, block_number, job_id, code, service, stage, error_class, message, attempts, replay_count,
           origin_topic, origin_partition, origin_offset, fingerprint, state, indexed_at,
           count(*) OVER () AS total
    FROM dead_letters l WHERE {SELECTED} AND l.state = %(state)s ORDER BY id LIMIT %(most)s
"""  # noqa: S608

_BY_STATE = f"SELECT l.state, count(*) FROM dead_letters l WHERE {SELECTED} GROUP BY l.state"  # noqa: S608

_WHOLE = f"""
    SELECT * FROM dead_letters l WHERE {SELECTED} AND l.state = %(state)s AND l.id > %(after)s
    ORDER BY id LIMIT %(most)s
"""  # noqa: S608

_SET_STATE = f"UPDATE dead_letters l SET state = %(to)s WHERE {SELECTED} AND l.state = %(state)s"  # noqa: S608

_REOPEN = """
    UPDATE dead_letters SET state = 'open'
    WHERE chain_id = %(chain)s AND state = 'replayed'
      AND replayed_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""
