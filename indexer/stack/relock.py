"""Make `kafka.lock.toml` anew with Maven: `python -m indexer.stack.relock`.

Maven resolves what Kafka needs at run time; the list of all of it, with SHA-256, is what gets installed from then on.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from indexer.errors import FatalError
from indexer.stack.cache import LOCK
from indexer.stack.sources import maven, pom

VERSION = "4.3.1"
BROKER = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3")
TOOLS = (*BROKER, f"org.apache.kafka:kafka-tools:{VERSION}")

HEADER = """\
# Every jar of the local stack's Kafka, with its SHA-256. Made by `python -m indexer.stack.relock` (needs Maven);
# do not edit by hand. `broker` runs a broker, `tools` is what Kafka's command line tools need besides.
"""

Locked = dict[str, str]  # coordinate: SHA-256


def coordinates(listing: str) -> list[str]:
    """The `group:artifact:version`s in the output of `mvn dependency:list`."""
    return sorted(":".join(found) for found in re.findall(r"^\s+([\w.-]+):([\w.-]+):jar:([\w.-]+):\w+", listing, re.M))


def resolve(wanted: tuple[str, ...], folder: Path) -> Locked:
    """Everything that `wanted` needs at run time. Raises FatalError when Maven cannot tell."""
    (folder / "pom.xml").write_text(pom(wanted, transitive=True))
    for goal, option in (
        ("dependency:list", "-DoutputFile=list.txt"),
        ("dependency:copy-dependencies", "-DoutputDirectory=jars"),
    ):
        done = maven(folder, goal, option)
        if done.returncode != 0:
            raise FatalError(f"{goal} failed: {done.stdout[-300:]}")
    found = coordinates((folder / "list.txt").read_text())
    return {coordinate: _sha256(folder / "jars", coordinate) for coordinate in found}


def _sha256(jars: Path, coordinate: str) -> str:
    _, artifact, version = coordinate.split(":")
    return hashlib.sha256((jars / f"{artifact}-{version}.jar").read_bytes()).hexdigest()


def render(broker: Locked, tools: Locked) -> str:
    """The lock file: the broker's jars, and those that only the tools need."""
    text = HEADER
    for section, jars in (("broker", broker), ("tools", {c: s for c, s in tools.items() if c not in broker})):
        lines = [f'"{coordinate}" = "{sha256}"\n' for coordinate, sha256 in sorted(jars.items())]
        text += f"\n[{section}]\n" + "".join(lines)
    return text


def main() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        LOCK.write_text(render(resolve(BROKER, Path(one)), resolve(TOOLS, Path(other))))


if __name__ == "__main__":
    main()
