"""Deferred indexes: a leaf gets them when no job fills it any more, leaf by leaf, without stopping writers.

An index kept during a backfill costs 1.1 ms a block, one built afterwards 0.3 ms (STACK.md).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
from psycopg import sql

from indexer.storage.engine import Connection
from indexer.storage.leaves import BLOCK_TABLES
from indexer.storage.partitions import existing, leaf_name

log = logging.getLogger(__name__)

_LOCK = 0x1D8E_0003  # pg_try_advisory_lock: one builder at a time
# A builder that froze must not keep the others out: its session ends while it idles.
_SESSION = (
    "SET lock_timeout = '10s'; SET idle_session_timeout = '10s'; SET maintenance_work_mem = '128MB';"
    " SET max_parallel_maintenance_workers = 0"  # leaves side by side gain more
)
_RESET = (
    "RESET lock_timeout; RESET idle_session_timeout; RESET maintenance_work_mem; RESET max_parallel_maintenance_workers"
)
_NAME_BYTES = 63
_LOOK_SECONDS = 0.2  # between two looks whether another builder is done


@dataclass(frozen=True, slots=True)
class LeafIndex:
    """One index of one leaf."""

    leaf: str
    columns: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.leaf}_{'_'.join(self.columns)}"[: _NAME_BYTES - 4] + "_idx"


def missing_indexes(connection: Connection, *, due_only: bool = True) -> list[LeafIndex]:
    """Return what leaves with data lack; with `due_only` only leaves that no live job covers."""
    found = existing(connection)
    starts = sorted({(start, end) for leaves in found.values() for start, end in leaves.items()})
    busy = _busy(connection, starts) if due_only else set()
    valid = _valid(connection)
    wanted = [
        LeafIndex(leaf_name(table, start), columns)
        for start, _ in starts
        if start not in busy
        for table, indexes in BLOCK_TABLES.items()
        if start in found[table]
        for columns in indexes
    ]
    lacking = [index for index in wanted if index.name not in valid]
    filled = {leaf for leaf in {index.leaf for index in lacking} if _has_rows(connection, leaf)}
    return [index for index in lacking if index.leaf in filled]


def build_due_indexes(connection: Connection, *others: Connection, wait: bool = False) -> list[str]:
    """Build what is missing and due; return the names of the indexes built.

    The connections are in autocommit mode (CONCURRENTLY cannot be in a transaction); each takes a leaf at a time, since
    two builds on one leaf would wait for each other in a circle. While another process builds nothing happens, or with
    `wait` it is waited for. What a crash left half-built is dropped first. A leaf that got an index is analyzed.
    """
    assert connection.autocommit, "CREATE INDEX CONCURRENTLY cannot run inside a transaction"
    if not missing_indexes(connection):
        return []
    while not _one(connection, "SELECT pg_try_advisory_lock(%s)", _LOCK):  # to wait in the server would hold it up
        if not wait:
            return []
        time.sleep(_LOOK_SECONDS)
    try:
        leaves: dict[str, list[LeafIndex]] = defaultdict(list)
        for index in missing_indexes(connection):
            leaves[index.leaf].append(index)
        return _build_leaves(sorted(leaves.values(), key=len), (connection, *others))
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _build_leaves(leaves: list[list[LeafIndex]], connections: Sequence[Connection]) -> list[str]:
    """Let every connection take the leaf with the most to build, until none is left."""

    def work(connection: Connection) -> list[str]:
        built = []
        connection.execute(_SESSION)
        try:
            while leaves:
                built += _build_leaf(connection, leaves.pop())
        finally:
            if not connection.broken:
                connection.execute(_RESET)
        return built

    with ThreadPoolExecutor(len(connections)) as pool:
        return [name for names in list(pool.map(work, connections)) for name in names]


def _build_leaf(connection: Connection, wanted: list[LeafIndex]) -> list[str]:
    built = [index for index in wanted if _build(connection, index)]
    if built:
        _analyze(connection, built)
    return [index.name for index in built]


def _build(connection: Connection, index: LeafIndex) -> bool:
    columns = sql.SQL(", ").join(map(sql.Identifier, index.columns))
    started = time.monotonic()
    try:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(index.name)))
        connection.execute(
            sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} ({})").format(
                sql.Identifier(index.name), sql.Identifier(index.leaf), columns
            )
        )
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        log.info("index %s: the table is busy, later", index.name)
        return False
    log.debug("index %s: built in %.1f s", index.name, time.monotonic() - started)
    return True


def _analyze(connection: Connection, built: list[LeafIndex]) -> None:
    """Collect statistics of the indexed columns, or plans guess until autovacuum comes by."""
    names = dict.fromkeys(name for index in built for name in index.columns)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    connection.execute(sql.SQL("ANALYZE {} ({})").format(sql.Identifier(built[0].leaf), columns))


def _busy(connection: Connection, bounds: list[tuple[int, int]]) -> set[int]:
    """Return the starts of the ranges that a live job covers."""
    rows = connection.execute(
        """
        SELECT b.start FROM unnest(%s::bigint[], %s::bigint[]) AS b (start, past)
        WHERE EXISTS (
            SELECT FROM processing_jobs j
            WHERE j.state IN ('queued', 'running', 'paused', 'cancelling') AND j.blocks && int8range(b.start, b.past)
        )
        """,
        ([start for start, _ in bounds], [end for _, end in bounds]),
    ).fetchall()
    return {int(row[0]) for row in rows}


def _valid(connection: Connection) -> set[str]:
    rows = connection.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisvalid AND i.indisready"
        " AND pg_table_is_visible(c.oid)"
    ).fetchall()
    return {str(row[0]) for row in rows}


def _has_rows(connection: Connection, leaf: str) -> bool:
    return bool(_one(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(leaf))))


def _one(connection: Connection, query: str | sql.Composed, *parameters: object) -> object:
    row = connection.execute(query, parameters or None).fetchone()
    return row[0] if row else None
