"""Kafka's jars: named with their SHA-256 in a lock file, installed once per machine for every clone."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from indexer.errors import UserError

LOCK = Path(__file__).with_name("kafka.lock.toml")


@dataclass(frozen=True, slots=True)
class Jar:
    """One artifact of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


class Source(Protocol):
    """Where jars come from."""

    def fetch(self, jars: Sequence[Jar], scratch: Path) -> list[Path]:
        """Return the file of each jar, somewhere below `scratch`. Raises UserError for one that cannot be had."""


def locked(section: str, text: str | None = None) -> list[Jar]:
    """The jars of one section of the lock file (`broker` or `tools`)."""
    found = tomllib.loads(LOCK.read_text() if text is None else text)[section]
    return [Jar(*_parts(coordinate), sha256) for coordinate, sha256 in found.items()]


def _parts(coordinate: str) -> tuple[str, str, str]:
    group, artifact, version = coordinate.split(":")
    return group, artifact, version


def cache_dir() -> Path:
    """Where downloads are kept: INDEXER_CACHE, or the user's cache folder."""
    if chosen := os.environ.get("INDEXER_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evm-kafka-indexer"


def target(section: str) -> Path:
    """The folder of a section's jars; there when they are installed."""
    key = hashlib.sha256("".join(sorted(jar.sha256 for jar in locked(section))).encode()).hexdigest()[:12]
    return cache_dir() / f"kafka-{section}-{key}"


def installed(section: str, source: Source) -> Path:
    """The folder with the jars of `section`, downloaded and checked first where they are missing.

    Safe against others that install at the same time, and against being killed: one folder per content of the lock
    file, which appears by rename when it is complete. Raises UserError where a jar cannot be had.
    """
    folder = target(section)
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.parent / f"{folder.name}.lock"):
        if not folder.exists():
            _install(locked(section), folder, source)
    return folder


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock on `path`; the kernel frees it however the process ends."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(jars: list[Jar], target: Path, source: Source) -> None:
    for left_over in target.parent.glob(f"{target.name}.part-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.part-", dir=target.parent) as scratch:
        ready = Path(scratch) / "ready"
        ready.mkdir(mode=0o755)
        for jar, path in zip(jars, source.fetch(jars, Path(scratch)), strict=True):
            check(jar, path)
            path.replace(ready / jar.file)
        ready.replace(target)


def check(jar: Jar, path: Path) -> None:
    """Refuse a file that is not the one of the lock file."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != jar.sha256:
        raise UserError(
            f"{jar.coordinate} has SHA-256 {found[:16]}…, the lock file says {jar.sha256[:16]}…: not installed",
            code="STACK_CHECKSUM",
        )
