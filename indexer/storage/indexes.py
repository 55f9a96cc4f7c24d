"""Deferred indexes: a leaf gets them when no job fills it any more, leaf by leaf, without stopping writers for long.

An index kept during a backfill costs 1.1 ms a block, one built afterwards 0.3 ms. CONCURRENTLY stops nobody, but reads
the leaf twice: a small leaf, which is done within a second or two, is built under a lock (docs/adr/small-leaves.md).
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
    "SET idle_session_timeout = '10s'; SET maintenance_work_mem = '128MB';"
    " SET max_parallel_maintenance_workers = 0"  # leaves side by side gain more
)
_RESET = (
    "RESET lock_timeout; RESET idle_session_timeout; RESET maintenance_work_mem; RESET max_parallel_maintenance_workers"
)
_NAME_BYTES = 63
_LOOK_SECONDS = 0.2  # between two looks whether another builder is done
_SMALL_LEAF_BYTES = 256 * 1024 * 1024  # up to which writers may be kept waiting
_BRIEFLY = "SET lock_timeout = '1s'"  # who waits for the lock keeps writers out as well
_PATIENTLY = "SET lock_timeout = '10s'"


@dataclass(frozen=True, slots=True)
class LeafIndex:
    """One index of one leaf; `written`: a job that follows the head may be writing there."""

    leaf: str
    columns: tuple[str, ...]
    written: bool = False

    @property
    def name(self) -> str:
        return f"{self.leaf}_{'_'.join(self.columns)}"[: _NAME_BYTES - 4] + "_idx"


def missing_indexes(connection: Connection, *, due_only: bool = True) -> list[LeafIndex]:
    """Return what leaves with data lack; with `due_only` only leaves that no backfill is under way in.

    Where the head is, and has been, there come so few rows that indexes are kept up to date.
    """
    found = existing(connection)
    starts = sorted({(start, end) for leaves in found.values() for start, end in leaves.items()})
    busy = _busy(connection, starts, head=False) if due_only else set()
    written = _busy(connection, starts, head=True)
    valid = _valid(connection)
    wanted = [
        LeafIndex(leaf_name(table, start), columns, start in written)
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

    The connections are in autocommit mode (CONCURRENTLY cannot be in a transaction). Two CONCURRENTLY builds on one
    leaf would wait for each other in a circle, so one connection builds all of a large leaf. While another process
    builds nothing happens, or with `wait` it is waited for. What a crash left half-built is dropped first. A leaf that
    got an index is analyzed.
    """
    assert connection.autocommit, "CREATE INDEX CONCURRENTLY cannot run inside a transaction"
    if not missing_indexes(connection):
        return []
    while not _one(connection, "SELECT pg_try_advisory_lock(%s)", _LOCK):  # to wait in the server would hold it up
        if not wait:
            return []
        time.sleep(_LOOK_SECONDS)
    try:
        return _build_all(missing_indexes(connection), (connection, *others))
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _build_all(wanted: Sequence[LeafIndex], connections: Sequence[Connection]) -> list[str]:
    """Build side by side, the longest first; then analyze the leaves that got an index."""
    sizes = {leaf: _size(connections[0], leaf) for leaf in {index.leaf for index in wanted}}
    for connection in connections:
        connection.execute(_SESSION)
    try:
        built = _side_by_side(_portions(wanted, sizes), _build_portion, connections)
        leaves: dict[str, list[LeafIndex]] = defaultdict(list)
        for index in built:
            leaves[index.leaf].append(index)
        _side_by_side(sorted(leaves.values(), key=lambda each: sizes[each[0].leaf]), _analyze, connections)
        return [index.name for index in built]
    finally:
        for connection in connections:
            if not connection.broken:
                connection.execute(_RESET)


def _portions(wanted: Sequence[LeafIndex], sizes: Mapping[str, int]) -> list[list[LeafIndex]]:
    """Return what one connection builds in one go: an index, but of a large leaf all; the longest last."""
    portions: dict[str, list[LeafIndex]] = defaultdict(list)
    for index in wanted:
        portions[index.name if _is_small(index, sizes[index.leaf]) else index.leaf].append(index)
    return sorted(portions.values(), key=lambda portion: sizes[portion[0].leaf] * len(portion))


def _side_by_side(
    portions: list[list[LeafIndex]],
    work: Callable[[Connection, list[LeafIndex]], list[LeafIndex]],
    connections: Sequence[Connection],
) -> list[LeafIndex]:
    """Let every connection take the last portion, until none is left."""

    def take(connection: Connection) -> list[LeafIndex]:
        done = []
        while portions:
            done += work(connection, portions.pop())
        return done

    with ThreadPoolExecutor(len(connections)) as pool:
        return [index for indexes in list(pool.map(take, connections)) for index in indexes]


def _build_portion(connection: Connection, portion: list[LeafIndex]) -> list[LeafIndex]:
    return [index for index in portion if _build(connection, index)]


def _build(connection: Connection, index: LeafIndex) -> bool:
    started = time.monotonic()
    try:
        connection.execute(_PATIENTLY)
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(index.name)))
        if not _build_at_once(connection, index):
            connection.execute(_create(index, "CONCURRENTLY"))
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        log.info("index %s: the table is busy, later", index.name)
        return False
    log.debug("index %s: built in %.1f s", index.name, time.monotonic() - started)
    return True


def _build_at_once(connection: Connection, index: LeafIndex) -> bool:
    """Build under a lock that writers wait for, if the leaf is small and free; return whether it is built."""
    if not _is_small(index, _size(connection, index.leaf)):
        return False
    connection.execute(_BRIEFLY)
    try:
        connection.execute(_create(index, ""))
    except psycopg.errors.LockNotAvailable:
        return False
    finally:
        if not connection.broken:
            connection.execute(_PATIENTLY)
    return True


def _is_small(index: LeafIndex, leaf_bytes: int) -> bool:
    return leaf_bytes <= _SMALL_LEAF_BYTES and not index.written


def _create(index: LeafIndex, how: str) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, index.columns))
    return sql.SQL("CREATE INDEX {} {} ON {} ({})").format(
        sql.SQL(how), sql.Identifier(index.name), sql.Identifier(index.leaf), columns
    )


def _analyze(connection: Connection, built: list[LeafIndex]) -> list[LeafIndex]:
    """Collect statistics of the indexed columns, or plans guess until autovacuum comes by."""
    names = dict.fromkeys(name for index in built for name in index.columns)
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    connection.execute(sql.SQL("ANALYZE {} ({})").format(sql.Identifier(built[0].leaf), columns))
    return built


def _size(connection: Connection, leaf: str) -> int:
    return int(str(_one(connection, "SELECT pg_table_size(%s::regclass)", leaf)))


def _busy(connection: Connection, bounds: list[tuple[int, int]], *, head: bool) -> set[int]:
    """Return the starts of the ranges that a live job covers: the one that follows the head, or any other."""
    rows = connection.execute(
        """
        SELECT b.start FROM unnest(%s::bigint[], %s::bigint[]) AS b (start, past)
        WHERE EXISTS (
            SELECT FROM processing_jobs j
            WHERE j.state IN ('queued', 'running', 'paused', 'cancelling') AND j.blocks && int8range(b.start, b.past)
              AND (j.reason = 'head') = %s
        )
        """,
        ([start for start, _ in bounds], [end for _, end in bounds], head),
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
