"""All settings in one typed, frozen object, read once from the environment and a `.env` file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from dotenv import dotenv_values

from indexer.errors import UserError
from indexer.limits import MOST_BATCH_SIZE, MOST_WINDOW


def _setting(default: Any, doc: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"doc": doc, "secret": secret})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment can set; the environment variable is the field's name in capitals."""

    chain_id: int = _setting(43114, "EIP-155 id of the chain; checked against the node")
    rpc_urls: tuple[str, ...] = _setting((), "JSON-RPC endpoints, comma-separated; may contain keys", secret=True)
    kafka_bootstrap_servers: str = _setting("", "host:port list of the Kafka brokers")
    database_url: str = _setting("", "postgresql://… of the database", secret=True)
    topic_prefix: str = _setting("", "put before every topic and group name, so that deployments share a cluster")
    schema_registry_url: str = _setting("", "register or compare the schemas there; nothing needs it", secret=True)
    models: tuple[str, ...] = _setting((), "model files (TOML), comma-separated")
    verify: str = _setting("full", "full | senders (adds every sender) | consistency (less)")
    native: str = _setting("auto", "compiled hot loops: auto (where they are built) | off | required")

    rpc_max_rps: float = _setting(0.0, "requests a second for each URL, for the whole deployment; 0: no limit")
    rpc_batch_size: int = _setting(50, "most blocks in one JSON-RPC batch; adapts below it")
    rpc_max_concurrency: int = _setting(8, "most requests under way to one endpoint from one decoder")
    rpc_timeout_seconds: float = _setting(30.0, "time for one HTTP request")
    rpc_budget_seconds: float = _setting(20.0, "time for a block's retries in place, before blocks.retry.*")

    rpc_ws_url: str = _setting("", "WebSocket endpoint that tells new heads; may contain a key", secret=True)
    confirmations: int = _setting(-1, "a block is final so many below the head; -1: what the node calls finalized")

    window: int = _setting(2000, "blocks of a job under way at most (never below one stripe per partition)")
    batch_size: int = _setting(100, "blocks published between two looks at pause, cancel and lease")
    republish_seconds: float = _setting(600.0, "age at which what is unresolved is published again, in seconds")
    redrive_seconds: float = _setting(0.0, "age at which letters that may succeed now are replayed; 0: never")
    redrive_times: int = _setting(3, "how often a letter is replayed by itself at most")
    max_jobs: int = _setting(10, "jobs that one producer serves at a time, as far as there is memory for their ranges")
    lease_seconds: float = _setting(10.0, "how long a producer's lease on a job lasts without renewal")

    commit_seconds: float = _setting(0.5, "longest time between two commits of a decoder; the head does not wait")
    decoder_window: int = _setting(400, "blocks that a decoder may have under way")
    decoder_window_mib: int = _setting(48, "MiB of answers that a decoder may hold")
    persist_seconds: float = _setting(1.0, "longest time that a persister collects a batch; the head does not wait")
    persist_blocks: int = _setting(700, "most blocks in one database transaction")
    persist_mib: int = _setting(20, "most MiB of records in one database transaction")
    partition_blocks: int = _setting(100_000, "block numbers in one table partition; fixed once data is stored")
    lock_timeout_seconds: float = _setting(5.0, "how long a row transaction waits for a lock")

    group_protocol: str = _setting("classic", "classic | consumer (KIP-848)")
    session_timeout_seconds: float = _setting(45.0, "classic protocol: time until a silent member is given up")
    slot: str = _setting("", "stable name of this process in its group: StatefulSet ordinal or local slot")
    metrics_port: int = _setting(0, "Prometheus metrics and health; 0: none")
    log_format: str = _setting("text", "text | json")
    log_level: str = _setting("info", "debug | info | warning | error")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
        """Read the environment, then `.env` for what it does not set.

        Raises UserError for a value that does not fit its type, naming the variable.
        """
        return cls(**{name: value for name, (value, origin) in read(environ, dotenv).items() if origin != "default"})

    def require(self, *names: str) -> Settings:
        """Return self; raises UserError naming what is not set and how to get it."""
        missing = [name.upper() for name in names if not getattr(self, name)]
        if missing:
            of_stack = bool({"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"} & set(missing))
            stack = ', or start a local stack and run `eval "$(indexer stack env)"`' if of_stack else ""
            raise UserError(f"{', '.join(missing)} not set: export it, put it into .env{stack}", code="SETTING_MISSING")
        return self


_CHOICES = {
    "verify": ("full", "senders", "consistency"),
    "native": ("auto", "off", "required"),
    "group_protocol": ("classic", "consumer"),
    "log_format": ("text", "json"),
    "log_level": ("debug", "info", "warning", "error"),
}
_INT4, _INT8 = 2**31 - 1, 2**63 - 1  # what PostgreSQL's columns hold
_MOST_SECONDS = 10 * 365 * 86_400.0  # more overflows timers and intervals
_RANGES: dict[str, tuple[float, float]] = {
    "chain_id": (1, _INT8),
    "rpc_max_rps": (0, 1e9),
    "rpc_batch_size": (1, _INT4),
    "rpc_max_concurrency": (1, _INT4),
    "rpc_timeout_seconds": (0.001, _MOST_SECONDS),
    "rpc_budget_seconds": (0, _MOST_SECONDS),
    "confirmations": (-1, _INT8),
    "window": (1, MOST_WINDOW),
    "batch_size": (1, MOST_BATCH_SIZE),
    "republish_seconds": (0, _MOST_SECONDS),
    "redrive_seconds": (0, _MOST_SECONDS),
    "redrive_times": (0, _INT4),
    "max_jobs": (1, _INT4),
    "lease_seconds": (1, 86_400),
    "commit_seconds": (0, 86_400),
    "decoder_window": (1, _INT4),
    "decoder_window_mib": (1, _INT4),
    "persist_seconds": (0, 86_400),
    "persist_blocks": (1, _INT4),
    "persist_mib": (1, _INT4),
    "partition_blocks": (64, _INT8),
    "lock_timeout_seconds": (0, 86_400),
    "session_timeout_seconds": (0.001, 86_400),
    "metrics_port": (0, 65_535),
}
_SCHEMES = {"rpc_urls": ("http", "https"), "rpc_ws_url": ("ws", "wss", "http", "https")}
_URLS = ("rpc_urls", "rpc_ws_url", "schema_registry_url", "database_url")
_NAMES = {"topic_prefix": re.compile(r"[a-zA-Z0-9._-]*"), "slot": re.compile(r"[a-zA-Z0-9._-]{0,128}")}


def read(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> dict[str, tuple[Any, str]]:
    """Return every setting as (value, origin); origin is `environment`, `.env` or `default`."""
    environ = os.environ if environ is None else environ
    path = Path(".env") if dotenv is None else dotenv
    from_file = _from_file(path)
    hints = get_type_hints(Settings)
    found: dict[str, tuple[Any, str]] = {}
    for each in fields(Settings):
        variable = each.name.upper()
        if environ.get(variable, "") != "":
            found[each.name] = (_parse(each.name, hints[each.name], environ[variable]), "environment")
        elif from_file.get(variable, "") != "":
            found[each.name] = (_parse(each.name, hints[each.name], from_file[variable]), ".env")
        else:
            found[each.name] = (each.default, "default")
    return found


def _from_file(path: Path) -> dict[str, str]:
    try:
        return {k: v for k, v in dotenv_values(path).items() if v is not None} if path.is_file() else {}
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text", code="SETTING_INVALID") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", code="SETTING_INVALID") from None


def _parse(name: str, kind: Any, text: str) -> Any:
    try:
        if kind is int:
            value: Any = int(text)
        elif kind is float:
            value = float(text)
        elif kind == tuple[str, ...]:
            value = tuple(part.strip() for part in text.split(",") if part.strip())
        else:
            value = text
    except ValueError:
        raise UserError(f"{name.upper()}={text!r} is not a number", code="SETTING_INVALID") from None
    if name in _CHOICES and value not in _CHOICES[name]:
        raise UserError(f"{name.upper()}={text!r}: choose {' or '.join(_CHOICES[name])}", code="SETTING_INVALID")
    _check(name, value, text)
    return value


def _check(name: str, value: Any, text: str) -> None:
    """Raise UserError for what no column, timer, port, topic or file's name can hold."""
    if name in _NAMES and not _NAMES[name].fullmatch(value):
        allowed = "only letters, digits, '.', '_' and '-'" + (", 128 at most" if name == "slot" else "")
        raise UserError(f"{name.upper()}={text!r}: {allowed}", code="SETTING_INVALID")
    if name in _URLS:
        _check_urls(name, value if isinstance(value, tuple) else (value,))
    if name not in _RANGES:
        return
    least, most = _RANGES[name]
    if math.isnan(value) or value < least:
        raise UserError(f"{name.upper()}={text}: at least {least:g}", code="SETTING_INVALID")
    if value > most:
        raise UserError(f"{name.upper()}={text}: at most {most:.15g}", code="SETTING_INVALID")


def _check_urls(name: str, urls: Iterable[str]) -> None:
    """Raise UserError for an address that cannot be taken apart; it is not quoted, for it may hold a key."""
    for url in urls:
        try:
            parts = urlsplit(url)
            if name != "database_url":  # libpq takes several hosts, each with a port
                _ = parts.port
        except ValueError:
            raise UserError(
                f"{name.upper()}: not a URL, or one with an impossible port", code="SETTING_INVALID"
            ) from None
        schemes = _SCHEMES.get(name)
        if url and schemes and (parts.scheme not in schemes or not parts.hostname):
            text = f"{name.upper()}: a URL begins with {'://, '.join(schemes[:-1])}:// or {schemes[-1]}:// and a host"
            raise UserError(text, code="SETTING_INVALID")


def shown(name: str, value: Any) -> str:
    """Return a setting as it may be printed: of a secret only the host is left."""
    secret = next(f.metadata["secret"] for f in fields(Settings) if f.name == name)
    values = value if isinstance(value, tuple) else (value,)
    return ",".join(_host(str(v)) if secret and v else str(v) for v in values)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":
            return "…"  # a bare / or # in a password: what looks like host and port may be its beginning
        return f"{parts.scheme}://…@{parts.hostname or ''}:{parts.port or ''}/…" if parts.scheme else "…"
    except ValueError:
        return "…"


def example() -> str:
    """Return the text of `.env.example`, which is generated from this object."""
    lines = ["# Every setting with its default; `indexer config` shows what is in force and where it comes from."]
    for each in fields(Settings):
        default = ",".join(each.default) if isinstance(each.default, tuple) else each.default
        lines += ["", f"# {each.metadata['doc']}", f"#{each.name.upper()}={default}"]
    return "\n".join(lines) + "\n"
