"""Partitions of the big tables, made ahead: a missing one would stop a row transaction, a waiting one every writer.

`CREATE TABLE … PARTITION OF` waits for every open writer. So a leaf is made on its own (`LIKE`), then attached, which
needs a weaker lock; each step commits by itself, so that what a crash leaves behind is found and attached next time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import LiteralString

import psycopg
from psycopg import sql

from indexer.errors import TransientError
from indexer.storage.engine import Connection
from indexer.storage.leaves import BLOCK_TABLES

log = logging.getLogger(__name__)

_LOCK = 0x1D8E_0002  # pg_advisory_lock: one process makes partitions at a time
# One that froze with the lock in its hands must not keep the others out: its session ends while it idles.
_SESSION = "SET lock_timeout = '2s'; SET idle_session_timeout = '10s'"
_RESET = "RESET lock_timeout; RESET idle_session_timeout"
_BOUNDS = re.compile(r"FROM \('(-?\d+)'\) TO \('(-?\d+)'\)")


def leaf_name(table: str, start: int) -> str:
    """Return the name of the leaf of `table` that begins at block `start`."""
    return f"{table}_p{start}"


def existing(connection: Connection) -> dict[str, dict[int, int]]:
    """Return per table the attached leaves as start → end (half-open)."""
    rows = connection.execute(_LEAVES, (list(BLOCK_TABLES),)).fetchall()
    found: dict[str, dict[int, int]] = {table: {} for table in BLOCK_TABLES}
    for table, bounds in rows:
        match = _BOUNDS.search(bounds)
        if match is not None:
            found[table][int(match[1])] = int(match[2])
    return found


def ensure_partitions(connection: Connection, numbers: Iterable[int], width: int) -> list[str]:
    """Make what is missing for these block numbers, in every table; return the names of the leaves made.

    `connection` is in autocommit mode and nobody else's. Once partitions exist their width counts, not `width`.
    Raises TransientError when a lock is not to be had: the next call goes on where this one stopped.
    """
    assert connection.autocommit, "partitions are never made inside a row transaction"
    wanted = set(numbers)
    if not _starts(existing(connection), wanted, width):
        return []
    try:
        connection.execute(_SESSION)
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        return _make(connection, _starts(existing(connection), wanted, width))
    except psycopg.errors.LockNotAvailable as error:
        raise TransientError("making partitions: a table is locked", code="DATABASE_LOCKED") from error
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock_all()")
            connection.execute(_RESET)


def width_of(found: dict[str, dict[int, int]], width: int) -> int:
    """Return the width of the partitions that exist, `width` when there are none: it is fixed once data is stored."""
    first = next((leaf for leaves in found.values() for leaf in leaves.items()), None)
    if first is None:
        return width
    fixed = first[1] - first[0]
    if fixed != width:
        log.info("partitions are %d blocks wide, PARTITION_BLOCKS=%d does not change that", fixed, width)
    return fixed


def _starts(found: dict[str, dict[int, int]], numbers: set[int], width: int) -> list[tuple[str, int, int]]:
    """Return (table, start, end) of every leaf that is missing."""
    fixed = width_of(found, width)
    starts = sorted({number // fixed * fixed for number in numbers})
    return [(table, start, start + fixed) for start in starts for table in BLOCK_TABLES if start not in found[table]]


def _make(connection: Connection, missing: list[tuple[str, int, int]]) -> list[str]:
    made = []
    for table, start, end in missing:
        names = {"leaf": sql.Identifier(leaf_name(table, start)), "parent": sql.Identifier(table)}
        connection.execute(_sql("CREATE TABLE IF NOT EXISTS {leaf} (LIKE {parent} INCLUDING ALL)", **names))
        connection.execute(
            _sql(
                "ALTER TABLE {parent} ATTACH PARTITION {leaf} FOR VALUES FROM ({start}) TO ({end})",
                start=sql.Literal(start),
                end=sql.Literal(end),
                **names,
            )
        )
        made.append(leaf_name(table, start))
    return made


def _sql(template: LiteralString, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(template).format(**parts)


_LEAVES = """
    SELECT p.relname, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_class p
    JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE p.relkind = 'p' AND p.relname = ANY(%s) AND pg_table_is_visible(p.oid)
"""
