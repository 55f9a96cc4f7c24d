"""Connections to PostgreSQL, and what their errors mean: psycopg for the services, SQLAlchemy Core for the rest."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from indexer.errors import OutageError, UserError
from indexer.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

Connection = psycopg.Connection[Any]

REVISION = "0005"  # what this code needs; a test compares it with the newest migration
_NAME_BYTES = 63  # PostgreSQL cuts application_name there
_CONNECT_SECONDS = 5
_LAST_PORT = 65_535
_WAY_OUT = "run `indexer db migrate`"
_ENCODING = "UTF8"  # of the database and of every connection: nothing depends on the defaults of either side


def application_name(settings: Settings, service: str) -> str:
    """Return `<topic_prefix>indexer-<service>-<slot>`; without a slot, host and pid stand for it."""
    slot = settings.slot or f"{socket.gethostname()}-{os.getpid()}"
    prefix = application_prefix(settings, service)
    return prefix + slot[: _NAME_BYTES - len(prefix.encode())]


def application_prefix(settings: Settings, service: str) -> str:
    """Return what the application names of a service's connections start with, in this deployment only."""
    own = f"indexer-{service}-"
    return settings.topic_prefix[: _NAME_BYTES - len(own) - 16] + own


def connect(settings: Settings, service: str, *, autocommit: bool = False, check: bool = True) -> Connection:
    """Connect for `service`; raises OutageError DATABASE_DOWN, or UserError when it is not our database.

    The database's encoding is always looked at: the server tells it unasked. `check` compares the database's revision
    with what this code needs.
    """
    url = psycopg_url(settings.database_url)
    connection = _connect(url, application_name(settings, service))
    try:
        check_encoding(connection.info.parameter_status("server_encoding"))
        if check:
            check_revision(connection)
        connection.autocommit = autocommit
    except psycopg.OperationalError as error:  # it went away in between
        connection.close()
        raise OutageError("the database went away", code="DATABASE_DOWN") from error
    except BaseException:
        connection.close()
        raise
    return connection


def reconnect(settings: Settings, service: str, stop: Callable[[], bool], *, autocommit: bool = False) -> Connection:
    """Connect, trying again every second until it works; raises OutageError when `stop` says so first."""
    while True:
        try:
            return connect(settings, service, autocommit=autocommit)
        except OutageError:
            if stop():
                raise
            time.sleep(1.0)


def create_engine(settings: Settings, service: str) -> Engine:
    """Return an SQLAlchemy engine whose connections come from `connect`, unpooled.

    SQLAlchemy is loaded here: the commands that do without it start a third of a second sooner.
    """
    from sqlalchemy import create_engine as build
    from sqlalchemy.pool import NullPool

    return build("postgresql+psycopg://", creator=lambda: connect(settings, service, check=False), poolclass=NullPool)


def psycopg_url(url: str) -> str:
    """Return `url` as libpq reads it: SQLAlchemy's `postgresql+psycopg://` is understood too.

    Raises UserError when it is not a PostgreSQL URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UserError("DATABASE_URL is not a valid postgresql:// URL", code="DATABASE_URL_INVALID") from None
    if parts.scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise UserError("DATABASE_URL is not a postgresql:// URL", code="DATABASE_URL_INVALID")
    plain = f"postgresql:{url.strip().partition(':')[2]}"  # put together from its parts, a socket's would lose its //
    try:
        _check_parts(conninfo_to_dict(plain))
    except psycopg.ProgrammingError:
        raise UserError("DATABASE_URL is not a valid postgresql:// URL", code="DATABASE_URL_INVALID") from None
    return plain


def _check_parts(info: Mapping[str, Any]) -> None:
    """Raise UserError where libpq read the URL otherwise than it was meant; nothing of it is quoted, it may be secret.

    A bare `@` or `/` in a password makes its rest a host, a port or a name of a database.
    """
    host, name = str(info.get("host") or ""), str(info.get("dbname") or "")
    if "@" in name or "@" in host.lstrip("@"):  # an abstract socket begins with one
        text = "DATABASE_URL: in user and password write %40 for @ and %2F for /"
        raise UserError(text, code="DATABASE_URL_INVALID")
    for port in str(info.get("port") or "").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _LAST_PORT):
            text = f"DATABASE_URL: the port is not a number from 1 to {_LAST_PORT}"
            raise UserError(text, code="DATABASE_URL_INVALID")


def check_encoding(encoding: str | None) -> None:
    """Raise UserError for a database that could not keep every text as it is; None, of a pooler, is not known."""
    if encoding is not None and encoding != _ENCODING:
        raise UserError(
            f"the database's encoding is {encoding}; it must be {_ENCODING}: make it anew by"
            f" CREATE DATABASE … ENCODING '{_ENCODING}' TEMPLATE template0",
            code="DATABASE_ENCODING",
        )


def check_revision(connection: Connection) -> None:
    """Raise UserError unless the database is at a revision that this code works with."""
    found = current_revision(connection)
    if found is None:
        raise UserError(f"the database has no tables of the indexer: {_WAY_OUT}", code="DATABASE_NOT_MIGRATED")
    if found < REVISION:
        raise UserError(f"the database is at revision {found}, {REVISION} is needed: {_WAY_OUT}", code="DATABASE_OLD")
    # A newer database is fine: migrations expand before the deploy and contract after it.


def current_revision(connection: Connection) -> str | None:
    """Return the database's revision, None when it was never migrated; ends the transaction."""
    try:
        row = connection.execute("SELECT to_regclass('schema_revision') IS NOT NULL").fetchone()
        if row is None or not row[0]:
            return None
        row = connection.execute("SELECT version_num FROM schema_revision").fetchone()
    finally:
        connection.rollback()
    return None if row is None else str(row[0])


def _connect(url: str, name: str) -> Connection:
    info = conninfo_to_dict(url)
    wanted = {"connect_timeout": _CONNECT_SECONDS, "keepalives_idle": 10, "keepalives_interval": 5}
    options = {**wanted, **info, "application_name": name, "client_encoding": _ENCODING}
    try:
        return psycopg.connect(make_conninfo("", **options), prepare_threshold=2)
    except psycopg.OperationalError as error:
        raise _refusal(error, _address(info), str(info.get("dbname") or "")) from None


def _address(info: Mapping[str, Any]) -> str:
    """Return host and port as they may be shown: only what follows the last `@`, before which a password may be."""
    host = str(info.get("host") or "local").rpartition("@")[2]
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{info['port']}" if info.get("port") else host


def _refusal(error: psycopg.OperationalError, host: str, name: str) -> OutageError | UserError:
    """Tell a wrong address from a server that is away; the driver's own text may quote the password's URL."""
    text = str(error)
    if "password authentication failed" in text or "no pg_hba.conf entry" in text or "role " in text:
        return UserError(f"the database at {host} refuses this user: check DATABASE_URL", code="DATABASE_REFUSED")
    if f'database "{name}" does not exist' in text:
        return UserError(f'{host} has no database "{name}": create it, or check DATABASE_URL', code="DATABASE_MISSING")
    return OutageError(f"the database at {host} does not answer", code="DATABASE_DOWN")
