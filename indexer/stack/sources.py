"""Where Kafka's jars come from: the Python package jgo, or a Maven that is installed anyway."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from indexer.errors import UserError
from indexer.stack.cache import Jar

WAY_OUT = "or set KAFKA_HOME to a Kafka 4 installation, or KAFKA_BOOTSTRAP_SERVERS to a running one"


class Download:
    """By jgo; by Maven where there is one and jgo is missing or refused."""

    def fetch(self, jars: Sequence[Jar], scratch: Path) -> list[Path]:
        try:
            return Jgo().fetch(jars, scratch)
        except UserError:
            if shutil.which("mvn") is None:
                raise
            return Maven().fetch(jars, scratch)


class Jgo:
    """Downloads in Python.

    Only jgo's transport is used: its resolver picks wrong versions of Kafka's dependencies; the lock file names them.
    """

    def fetch(self, jars: Sequence[Jar], scratch: Path) -> list[Path]:
        try:
            from jgo import maven
        except ImportError as error:
            raise UserError(
                f"Kafka is not installed: jgo is missing; install the extra `evm-kafka-indexer[local]`, {WAY_OUT}",
                code="STACK_MISSING",
            ) from error
        context: Any = maven.MavenContext
        repository = context(repo_cache=scratch / "repository", local_repos=[], timeout=60)
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda jar: _resolve(repository, jar), jars))


def _resolve(repository: Any, jar: Jar) -> Path:
    try:
        found = repository.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
    except Exception as error:  # whatever jgo and its HTTP client raise: the jar cannot be had
        raise _refused(jar.coordinate) from error
    if found is None:
        raise _refused(jar.coordinate)
    return Path(found)


def _refused(what: str) -> UserError:
    return UserError(
        f"Kafka cannot be installed: {what} was not downloaded (no network, or refused); try again, {WAY_OUT}",
        code="STACK_DOWNLOAD",
    )


class Maven:
    """Downloads by `mvn`, with whatever mirrors and credentials it is set up for."""

    def fetch(self, jars: Sequence[Jar], scratch: Path) -> list[Path]:
        folder = scratch / "maven"
        folder.mkdir()
        (folder / "pom.xml").write_text(pom((jar.coordinate for jar in jars), transitive=False))
        copied = maven(folder, "dependency:copy-dependencies", "-DoutputDirectory=jars")
        paths = [folder / "jars" / jar.file for jar in jars]
        if copied.returncode != 0 or not all(path.exists() for path in paths):
            raise _refused("Kafka (by jgo and by Maven)")
        return paths


def maven(folder: Path, goal: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one goal of Maven on the pom in `folder`."""
    command = ["mvn", "-q", "-B", goal, "-DincludeScope=runtime", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def pom(coordinates: Iterable[str], *, transitive: bool) -> str:
    """A project that depends on these `group:artifact:version`s, with or without what they depend on."""
    everything = "<exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
    exclusions = "" if transitive else f"<exclusions>{everything}</exclusions>"
    dependencies = []
    for coordinate in coordinates:
        group, artifact, version = coordinate.split(":")
        names = f"<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        dependencies.append(f"<dependency>{names}{exclusions}</dependency>")
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>local</groupId><artifactId>stack</artifactId><version>1</version>"
        f"<dependencies>{''.join(dependencies)}</dependencies></project>\n"
    )
