"""A database in memory: transactions that see what is committed, row locks, back-ends that can be ended, restores.

Restored, it gives ids out again, as a sequence does.

What the services say to PostgreSQL is known by its statement (`statements.py`); each is a function that says the same
of these tables. A row that another transaction has locked is not waited for: the lock's time is up at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.simulation.laws import Commit, GivenOut, broken

Row = dict[str, Any]
Key = Any
Statement = Callable[["Session", Any], Any]

TABLES = (
    "blocks", "balances", "block_processing", "chain_state", "consumer_progress", "dead_letters", "headers",
    "job_coverage", "outbox", "processing_jobs", "replay_items", "replay_runs", "rollbacks",
    "transactions", "logs", "token_transfers", "decoded_events", "transaction_processing",
)  # fmt: skip


def first(pair: tuple[Any, Row]) -> Any:
    """Sort by key."""
    return pair[0]


@dataclass(slots=True)
class Answer:
    """What a statement gives: rows, and how many were touched."""

    rows: list[Any]
    rowcount: int

    def fetchall(self) -> list[Any]:
        return self.rows

    def fetchone(self) -> Any:
        return self.rows[0] if self.rows else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a restore brings back."""

    tables: dict[str, dict[Key, Row]]
    ids: dict[str, int]


@dataclass(slots=True)
class Database:
    """What is committed, and who has locked what."""

    statements: dict[str, Statement]
    now: Callable[[], float]
    tables: dict[str, dict[Key, Row]] = field(default_factory=lambda: {name: {} for name in TABLES})
    locks: dict[tuple[str, Key], Session] = field(default_factory=dict)
    sessions: dict[int, Session] = field(default_factory=dict)
    numbers: int = 0  # never given twice: pids
    ids: dict[str, int] = field(default_factory=dict)  # the last one that a table gave out
    notes: list[str] = field(default_factory=list)  # what no transaction may do
    rules: Callable[[str], bool] = lambda rule: True  # whether a rule is kept; False takes it out
    given_out: GivenOut = field(default_factory=GivenOut)
    restored: bool = False  # ever
    final: Callable[[int], bytes | None] = lambda number: None  # the hash of a height that is final

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def new_id(self, table: str) -> int:
        self.ids[table] = self.ids.get(table, 0) + 1
        return self.ids[table]

    def open(self, fault: Callable[[Session, str], None], *, autocommit: bool = False) -> Session:
        session = Session(self, self.number(), fault, autocommit)
        self.sessions[session.pid] = session
        return session

    def end(self, pid: int) -> None:
        """End a back-end: what it had not committed is undone."""
        session = self.sessions.get(pid)
        if session is not None:
            session.close()

    def backup(self) -> Backup:
        tables = {name: dict(rows) for name, rows in self.tables.items()}  # rows are never changed in place
        return Backup(tables, dict(self.ids))

    def restore(self, backup: Backup) -> None:
        """Go back to a backup; nobody stays connected."""
        for pid in list(self.sessions):
            self.end(pid)
        self.tables = {name: dict(rows) for name, rows in backup.tables.items()}
        self.ids = dict(backup.ids)
        self.restored = True


@dataclass(slots=True)
class _Info:
    backend_pid: int


class Session:
    """A connection as the services use it: execute, commit, rollback, transaction."""

    def __init__(self, database: Database, pid: int, fault: Callable[[Session, str], None], autocommit: bool) -> None:
        self.db, self.pid, self._fault, self._autocommit = database, pid, fault, autocommit
        self.info = _Info(pid)
        self.closed = False
        self._changes: dict[tuple[str, Key], Row | None] = {}
        self._locked: set[tuple[str, Key]] = set()
        self._nested = 0
        self.seen: dict[Any, int | None] = {}  # back-ends that were recorded when we looked for predecessors

    # as psycopg's

    def execute(self, statement: str, parameters: Any = None) -> Answer:
        self.fault("before a statement")
        known = self.db.statements.get(statement)
        if known is None:
            raise NotImplementedError(f"the database in memory does not know: {statement}")
        return self.run(known, parameters)

    def run(self, statement: Statement, parameters: Any = None) -> Answer:
        alone = self._autocommit and not self._nested
        try:
            found = statement(self, parameters)
        except psycopg.Error:
            if alone:
                self._forget()
            raise
        if alone:
            self._apply()
        if isinstance(found, int):
            return Answer([], found)
        rows = [] if found is None else list(found)
        return Answer(rows, len(rows))

    def commit(self) -> None:
        self.fault("before the commit")
        self._apply()
        self.fault("after the commit")

    def rollback(self) -> None:
        if self.closed:
            raise psycopg.OperationalError("the connection is closed")
        self._forget()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True
        self._forget()
        self.db.sessions.pop(self.pid, None)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._nested += 1
        try:
            yield
        except BaseException:
            if not self.closed:
                self._forget()
            raise
        finally:
            self._nested -= 1
        if not self._nested:
            self.commit()

    # for statements

    def get(self, table: str, key: Key) -> Row | None:
        change = self._changes.get((table, key), self)
        return self.db.tables[table].get(key) if change is self else change  # type: ignore[return-value]

    def items(self, table: str) -> list[tuple[Key, Row]]:
        found = dict(self.db.tables[table])
        for (name, key), row in self._changes.items():
            if name == table:
                if row is None:
                    found.pop(key, None)
                else:
                    found[key] = row
        return list(found.items())

    def put(self, table: str, key: Key, row: Row) -> None:
        self.lock(table, key)
        self._changes[table, key] = row

    def change(self, table: str, key: Key, **values: Any) -> None:
        """Lock the row, look at it again, change it."""
        self.lock(table, key)
        row = self.get(table, key)
        if row is not None:
            self._changes[table, key] = {**row, **values}

    def delete(self, table: str, key: Key) -> None:
        self.lock(table, key)
        self._changes[table, key] = None

    def lock(self, table: str, key: Key) -> None:
        if self.closed:
            raise psycopg.OperationalError("the connection is closed")
        holder = self.db.locks.setdefault((table, key), self)
        if holder is not self:
            raise psycopg.errors.LockNotAvailable(f"{table} {key} is locked by back-end {holder.pid}")
        self._locked.add((table, key))

    def fault(self, place: str) -> None:
        """Let the world do something here: kill us, freeze us, cut the connection."""
        if self.closed:
            raise psycopg.OperationalError("the connection is closed")
        self._fault(self, place)
        if self.closed:
            raise psycopg.OperationalError("the connection was closed")

    def _apply(self) -> None:
        if not self._changes:
            self._forget()
            return
        commit = Commit(self.db.tables, self._changes, self.pid, self.db.sessions.keys(), self.db.given_out)
        self.db.notes += broken(commit)
        for (table, key), row in self._changes.items():
            if row is None:
                self.db.tables[table].pop(key, None)
            else:
                self.db.tables[table][key] = row
        self._forget()

    def _forget(self) -> None:
        for place in self._locked:
            if self.db.locks.get(place) is self:
                del self.db.locks[place]
        self._changes.clear()
        self._locked.clear()
