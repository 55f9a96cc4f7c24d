"""What a user can get wrong, and how a command or a service has to answer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlsplit

from psycopg import sql

from indexer.settings import Settings
from indexer.storage.jobs import Connection
from tests.support.command_line import Ran, variables

USER, FAILED = 2, 1  # exit codes
NOWHERE = "127.0.0.1:1"  # where nobody listens


def assert_one_line(ran: Ran, code: int, *words: str) -> None:
    """The exit code, and one line on standard error that has these words."""
    assert "Traceback" not in ran.out + ran.err, ran.err
    assert ran.code == code, ran.err or ran.out
    assert ran.err.count("\n") == 1, ran.err
    for word in words:
        assert word in ran.err
    assert ran.out == ""


def assert_nothing_done(database: Connection) -> None:
    for table in ("processing_jobs", "job_coverage", "blocks", "consumer_progress", "dead_letters"):
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        assert database.execute(query).fetchone() == (0,), table


def wrong_databases(right: Settings, empty: str) -> dict[str, tuple[Settings, int, list[str]]]:
    """What can be wrong with a database: settings, exit code, words of the line."""
    url = urlsplit(right.database_url)
    assert url.username
    assert url.port
    other_password = url._replace(netloc=f"{url.username}:not-this@127.0.0.1:{url.port}").geturl()
    no_server = url._replace(netloc=f"{url.username}:secret@{NOWHERE}").geturl()
    return {
        "not migrated": (replace(right, database_url=empty), USER, ["indexer db migrate"]),
        "another password": (replace(right, database_url=other_password), USER, ["refuses", "DATABASE_URL"]),
        "no such database": (replace(right, database_url=url._replace(path="/nil").geturl()), USER, ["nil"]),
        "no server": (replace(right, database_url=no_server), FAILED, ["127.0.0.1", "does not answer"]),
        "another kind": (replace(right, database_url="mysql://localhost/x"), USER, ["postgresql://"]),
        "not set": (replace(right, database_url=""), USER, ["DATABASE_URL not set"]),
    }


DATABASES = ["not migrated", "another password", "no such database", "no server", "another kind", "not set"]


def ran_service(settings: Settings, service: str, seconds: float = 60.0) -> Ran:
    """Run a service alone until it ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}.main"],
        env={**os.environ, **variables(settings)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def assert_last_line(ran: Ran, code: int, *words: str) -> None:
    """The exit code, and a last line that has these words; what was logged before is no traceback."""
    assert "Traceback" not in ran.out + ran.err, ran.err
    assert ran.code == code, ran.err
    last = ran.err.splitlines()[-1]
    for word in words:
        assert word in last
