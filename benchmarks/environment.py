"""An indexer of its own for a demonstration or a benchmark: stack, node, empty database and topics, commands."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from devchain.client import Devchain
from indexer import stack
from indexer.kafka.admin import KafkaAdmin
from indexer.settings import Settings
from indexer.topics import load_topics

ROOT = Path(__file__).resolve().parent.parent
CHAIN_ID = 43114


@dataclass
class Environment:
    """Where the commands run; `environ` is what a user would export."""

    name: str
    node: Devchain
    environ: dict[str, str]
    echo: bool = True
    steps: dict[str, float] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environ, dotenv=Path(os.devnull))

    def indexer(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as a user would, its output on our terminal."""
        self._say(arguments)
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "indexer.cli", *arguments], env=self.environ, text=True, cwd=ROOT)
        self._note(arguments, started)
        if check and done.returncode != 0:
            raise SystemExit(done.returncode)
        return done

    def indexer_json(self, *arguments: str, check: bool = True) -> Any:
        """Run a command with `--json` and return what it prints."""
        started = time.monotonic()
        command = [sys.executable, "-m", "indexer.cli", *arguments, "--json"]
        done = subprocess.run(command, env=self.environ, text=True, cwd=ROOT, stdout=subprocess.PIPE)
        self._note(arguments, started)
        if check and done.returncode != 0:
            raise SystemExit(f"indexer {shlex.join(arguments)}: exit code {done.returncode}")
        return json.loads(done.stdout)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.environ["DATABASE_URL"], autocommit=True)

    def _say(self, arguments: Sequence[str]) -> None:
        if self.echo:
            print(f"\n$ indexer {shlex.join(arguments)}", flush=True)

    def _note(self, arguments: Sequence[str], started: float) -> None:
        name = " ".join(arguments[:2])
        self.steps[name] = self.steps.get(name, 0.0) + time.monotonic() - started


@contextmanager
def environment(
    name: str, *, node: dict[str, Any], data_dir: Path | None = None, echo: bool = True
) -> Iterator[Environment]:
    """Start (or find) the local stack, serve a simulated chain, empty database and topics; stop both at the end.

    `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL` are used instead of the local stack where they are set.
    """
    folder = data_dir or ROOT / ".local" / "stack"
    was_running = stack.is_running(folder)
    external = {key: os.environ.get(key) for key in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL")}
    running = None
    if not all(external.values()):
        running = stack.start(
            folder, external_kafka=external["KAFKA_BOOTSTRAP_SERVERS"], external_database=external["DATABASE_URL"]
        )
    servers = external["KAFKA_BOOTSTRAP_SERVERS"] or (running.bootstrap_servers if running else "")
    server_url = external["DATABASE_URL"] or (running.database_url if running else "")
    chain = Devchain.simulated(cwd=ROOT, **node)
    try:
        environ = {
            **os.environ,
            "CHAIN_ID": str(CHAIN_ID),
            "RPC_URLS": chain.url,
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "DATABASE_URL": _empty_database(server_url, f"indexer_{name}"),
            "TOPIC_PREFIX": f"{name}.",
            "SESSION_TIMEOUT_SECONDS": "6",
        }
        here = Environment(name, chain, environ, echo)
        KafkaAdmin(here.settings).delete(load_topics(here.settings.topic_prefix).names)
        yield here
    finally:
        chain.stop()
        if running is not None and not was_running:
            running.stop()


def _empty_database(server_url: str, name: str) -> str:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
