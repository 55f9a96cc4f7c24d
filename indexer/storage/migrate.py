"""Brings the database to the newest revision, and tells what differs; safe when several do it at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from indexer.errors import UserError
from indexer.settings import Settings
from indexer.storage import engine
from indexer.storage.tables import metadata

_LOCK = 0x1D8E_0001  # pg_advisory_xact_lock: one migration at a time in a database
_OLDEST_SERVER = 140000


@dataclass(frozen=True, slots=True)
class State:
    """Where a database is and what is missing."""

    revision: str | None  # None: never migrated
    newest: str
    pending: tuple[str, ...]  # "0001: what it does", in order
    differences: tuple[str, ...] = ()

    @property
    def current(self) -> bool:
        return not self.pending and not self.differences


def migrate(settings: Settings, *, dry_run: bool = False) -> State:
    """Apply what is pending, all or nothing, and return the state before; with `dry_run` apply nothing."""
    with engine.create_engine(settings, "migrate").begin() as connection:
        _check_server(connection)
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = _state(connection)
        if before.pending and not dry_run:
            command.upgrade(_config(connection), "head")
    return before


def check(settings: Settings) -> State:
    """Return the database's state, differences to tables.py included."""
    with engine.create_engine(settings, "migrate").connect() as connection:
        _check_server(connection)
        state = _state(connection)
        if state.pending:
            return state
        return State(state.revision, state.newest, (), tuple(differences(connection)))


def differences(connection: Connection) -> list[str]:
    """Return what Alembic finds different between tables.py and the database, one line each."""
    context = MigrationContext.configure(
        connection, opts={"include_object": _is_ours, "version_table": "schema_revision", "compare_type": True}
    )
    return [str(each) for each in compare_metadata(context, metadata)]


def newest_revision() -> str:
    return str(_scripts().get_current_head())


def _check_server(connection: Connection) -> None:
    version = connection.execute(text("SELECT current_setting('server_version_num')::int")).scalar_one()
    if version < _OLDEST_SERVER:
        raise UserError(f"PostgreSQL {version // 10000} is too old: 14 or newer is needed", code="DATABASE_TOO_OLD")


def _state(connection: Connection) -> State:
    scripts = _scripts()
    context = MigrationContext.configure(connection, opts={"version_table": "schema_revision"})
    revision = context.get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if revision is not None and revision not in known:
        raise UserError(
            f"the database is at revision {revision}, which this program does not know: use a newer release",
            code="DATABASE_NEWER",
        )
    pending = [
        f"{script.revision}: {script.doc}"
        for script in reversed(list(scripts.iterate_revisions("head", revision or "base")))
    ]
    return State(revision, newest_revision(), tuple(pending))


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _is_ours(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
    """Keep to the tables that we declare; leaves of partitioned tables and strangers' tables are not compared."""
    return not (kind == "table" and reflected and name not in metadata.tables)
