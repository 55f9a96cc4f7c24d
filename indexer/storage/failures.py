"""What an error of PostgreSQL means for the one who wrote: by SQLSTATE, never by its text."""

from __future__ import annotations

from enum import Enum

import psycopg

from indexer.deadletter import cut, without_secrets
from indexer.errors import FatalError, IndexerError, OutageError, PoisonError, TransientError, UserError


class Failure(Enum):
    LOST = "the connection is gone; whether a commit came through has to be looked up"
    AGAIN = "rolled back by the server; the same again may work"
    ROW = "a row that the tables have no room for"
    FULL = "the disk is full"
    SCHEMA = "not the tables that we know"
    OTHER = "anything else"


_AGAIN = {"40001", "40P01", "55P03", "57014", "25P03", "25P04", "53200", "53400"}
_LOST = {"57P01", "57P02", "57P03", "57P05", "53300", "25P01"}
_SCHEMA = {"42P01", "42703", "42883", "3F000", "42501"}
_ROW_CLASSES = ("22", "23", "54")


def failure_of(error: psycopg.Error, connection: psycopg.Connection[object] | None = None) -> Failure:
    """Return the kind of an error; a broken `connection` is lost, whatever the error says."""
    state = error.sqlstate
    if (connection is not None and connection.closed) or (state and (state in _LOST or state[:2] == "08")):
        return Failure.LOST
    if state is None:
        return Failure.LOST if isinstance(error, psycopg.OperationalError) else Failure.OTHER
    if state in _AGAIN:
        return Failure.AGAIN
    if state == "53100":
        return Failure.FULL
    if state in _SCHEMA:
        return Failure.SCHEMA
    return Failure.ROW if state[:2] in _ROW_CLASSES else Failure.OTHER


def translated(error: psycopg.Error, what: str, connection: psycopg.Connection[object] | None = None) -> IndexerError:
    """Return our error for one of PostgreSQL's; `what` is what we were doing."""
    kind = failure_of(error, connection)
    text = cut(without_secrets(str(error).split("\n", 1)[0]), 300)
    match kind:
        case Failure.LOST:
            return OutageError(f"{what}: the connection to the database is gone", code="DATABASE_DOWN")
        case Failure.AGAIN:
            return TransientError(f"{what}: {text}", code="DATABASE_BUSY")
        case Failure.ROW:
            return PoisonError(f"{what}: {text} ({error.sqlstate})", code="ROW_REFUSED")
        case Failure.FULL:
            return FatalError(f"{what}: the database's disk is full", code="DISK_FULL")
        case Failure.SCHEMA:
            return UserError(f"{what}: {text}: run `indexer db check`", code="DATABASE_SCHEMA")
        case _:
            return FatalError(f"{what}: {text} ({error.sqlstate})", code="DATABASE_ERROR")
