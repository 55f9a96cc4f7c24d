"""Audits as jobs: a row each, with the report of all portions so far, and the wishes of an operator.

    running ─▶ clean | findings            the command that audits
    running ─▶ interrupted                 the same, ended by Ctrl-C or SIGTERM
    running, interrupted ─▶ paused         an operator; from there only `--resume` goes on
    any of these ─▶ cancelled              an operator

Who audits holds an advisory lock as long as it is connected: a row that is `running` and not held was killed, and is
shown as interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from indexer.errors import UserError
from indexer.storage.engine import Connection

_LOCK = 0x1D8E_0006  # first key of pg_try_advisory_lock; the second is the audit
_UNFINISHED = ("running", "interrupted", "paused")
_WISHES = {"pause": ("paused", ("running", "interrupted")), "cancel": ("cancelled", _UNFINISHED)}


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit that was recorded."""

    id: int
    state: str
    from_number: int
    to_number: int
    next_number: int  # all below was looked at, and is in the report
    findings: int
    report: dict[str, Any] | None

    @property
    def share(self) -> float:
        """How much of the heights was looked at, in percent."""
        return 100 * (self.next_number - self.from_number) / (self.to_number - self.from_number + 1)


def begin(connection: Connection, chain_id: int, first: int, last: int, report: Mapping[str, Any]) -> int:
    """Make the row of a new audit, which this connection holds; `report` is that of nothing looked at."""
    with connection.transaction():
        row = connection.execute(
            "INSERT INTO audits (chain_id, from_number, to_number, next_number, report) VALUES (%s, %s, %s, %s, %s)"
            " RETURNING id",
            (chain_id, first, last, first, Jsonb(report)),
        ).fetchone()
        assert row is not None
        _hold(connection, int(row[0]))
    return int(row[0])


def note(connection: Connection, audit: int, next_number: int, findings: int, report: Mapping[str, Any]) -> bool:
    """Keep what was found below `next_number`; False when the audit is no longer to run."""
    return _change(connection, audit, "running", next_number, findings, report)


def end(connection: Connection, audit: int, next_number: int, findings: int, report: Mapping[str, Any]) -> bool:
    """Keep the whole report; False when the audit was paused or cancelled meanwhile."""
    return _change(connection, audit, "findings" if findings else "clean", next_number, findings, report)


def interrupt(connection: Connection, audit: int) -> None:
    """Say that whoever audits was asked to end."""
    connection.execute(
        "UPDATE audits SET state = 'interrupted', updated_at = now() WHERE id = %s AND state = 'running'", (audit,)
    )


def wanted(connection: Connection, audit: int) -> bool:
    """Return whether the audit is still to run."""
    row = connection.execute("SELECT state FROM audits WHERE id = %s", (audit,)).fetchone()
    return row is not None and row[0] == "running"


def take_up(connection: Connection, chain_id: int, audit: int) -> Audit:
    """Go on with an audit that ended half-way; raises UserError for one that is over, or that somebody carries out."""
    found = recorded(connection, chain_id, audit)
    if found.state not in _UNFINISHED:
        raise _wrong_state(audit, found.state, "resumed")
    if not _hold(connection, audit):
        raise _wrong_state(audit, "being carried out", "resumed")
    connection.execute("UPDATE audits SET state = 'running', updated_at = now() WHERE id = %s", (audit,))
    return recorded(connection, chain_id, audit)  # what its predecessor wrote before it let go


def interrupted(connection: Connection, chain_id: int, asked: Mapping[str, Any], hours: float) -> int | None:
    """Return the newest audit of the same wishes that was interrupted in the last hours; nobody carries it out."""
    parameters = {"chain": chain_id, "lock": _LOCK, "asked": Jsonb(asked), "hours": hours}
    row = connection.execute(_INTERRUPTED, parameters).fetchone()
    return None if row is None else int(row[0])


def wish(connection: Connection, chain_id: int, audit: int, verb: str) -> str:
    """Pause or cancel an audit, wherever it runs, and return its state; the same wish twice is no error."""
    to_state, from_states = _WISHES[verb]
    changed = connection.execute(
        "UPDATE audits SET state = %s, updated_at = now() WHERE id = %s AND chain_id = %s AND state = ANY(%s)",
        (to_state, audit, chain_id, list(from_states)),
    ).rowcount
    if not changed and (state := recorded(connection, chain_id, audit).state) != to_state:
        raise _wrong_state(audit, state, to_state)
    return to_state


def recorded(connection: Connection, chain_id: int, audit: int) -> Audit:
    """Return one audit; raises UserError where there is none."""
    found = _audits(connection, f"{_AUDITS} AND id = %(id)s", {"chain": chain_id, "id": audit})
    if not found:
        raise UserError(f"no audit {audit} on chain {chain_id}", code="NO_SUCH_AUDIT")
    return found[0]


def newest(connection: Connection, chain_id: int, most: int = 3) -> list[Audit]:
    """Return the newest audits, those that are not over first."""
    order = " ORDER BY state = ANY(%(unfinished)s) DESC, id DESC LIMIT %(most)s"
    return _audits(connection, _AUDITS + order, {"chain": chain_id, "unfinished": list(_UNFINISHED), "most": most})


def _change(
    connection: Connection, audit: int, state: str, next_number: int, findings: int, report: Mapping[str, Any]
) -> bool:
    statement = (
        "UPDATE audits SET state = %s, next_number = %s, findings = %s, report = %s, updated_at = now()"
        " WHERE id = %s AND state = 'running'"
    )
    return connection.execute(statement, (state, next_number, findings, Jsonb(report), audit)).rowcount == 1


def _hold(connection: Connection, audit: int) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s::int)", (_LOCK, audit)).fetchone()
    return row is not None and bool(row[0])


def _wrong_state(audit: int, state: str, done: str) -> UserError:
    return UserError(f"audit {audit} is {state} and cannot be {done}", code="JOB_STATE")


def _audits(connection: Connection, statement: str, parameters: dict[str, object]) -> list[Audit]:
    with connection.cursor(row_factory=class_row(Audit)) as cursor:
        return cursor.execute(statement.encode(), {**parameters, "lock": _LOCK}).fetchall()


_HELD = """
    EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = %(lock)s::oid AND l.objid = a.id::oid
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""

_AUDITS = f"""
    SELECT * FROM (
        SELECT id, CASE WHEN state = 'running' AND NOT {_HELD} THEN 'interrupted' ELSE state END AS state,
               from_number, to_number, next_number, findings, report
        FROM audits a WHERE chain_id = %(chain)s) AS found
    WHERE true
"""  # noqa: S608  # constants only

_INTERRUPTED = f"""
    SELECT id FROM audits a
    WHERE chain_id = %(chain)s AND state IN ('running', 'interrupted') AND report -> 'asked' = %(asked)s
      AND updated_at > now() - make_interval(secs => %(hours)s * 3600) AND NOT {_HELD}
    ORDER BY id DESC LIMIT 1
"""  # noqa: S608
