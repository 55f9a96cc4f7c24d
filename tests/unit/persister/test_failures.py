"""What an error of PostgreSQL means, by its SQLSTATE."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from indexer.errors import FatalError, IndexerError, OutageError, PoisonError, TransientError, UserError
from indexer.storage.failures import translated


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.DeadlockDetected("x"), TransientError, "DATABASE_BUSY"),
        (errors.SerializationFailure("x"), TransientError, "DATABASE_BUSY"),
        (errors.LockNotAvailable("x"), TransientError, "DATABASE_BUSY"),
        (errors.AdminShutdown("x"), OutageError, "DATABASE_DOWN"),
        (errors.ConnectionFailure("x"), OutageError, "DATABASE_DOWN"),
        (errors.TooManyConnections("x"), OutageError, "DATABASE_DOWN"),
        (psycopg.OperationalError("the server closed the connection"), OutageError, "DATABASE_DOWN"),
        (errors.UniqueViolation("x"), PoisonError, "ROW_REFUSED"),
        (errors.NumericValueOutOfRange("x"), PoisonError, "ROW_REFUSED"),
        (errors.ProgramLimitExceeded("x"), PoisonError, "ROW_REFUSED"),
        (errors.DiskFull("x"), FatalError, "DISK_FULL"),
        (errors.UndefinedTable("x"), UserError, "DATABASE_SCHEMA"),
        (errors.SyntaxError("x"), FatalError, "DATABASE_ERROR"),
        (psycopg.ProgrammingError("x"), FatalError, "DATABASE_ERROR"),
    ],
)
def test_each_error_has_a_kind(error: psycopg.Error, kind: type[IndexerError], code: str) -> None:
    found = translated(error, "writing")

    assert type(found) is kind
    assert found.code == code
    assert str(found).startswith("writing: ")
