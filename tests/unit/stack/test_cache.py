"""Jars get installed whole, once and as the lock file says, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.errors import FatalError, UserError
from indexer.stack import cache, relock
from indexer.stack.cache import Jar, installed, locked
from indexer.stack.relock import coordinates, render
from indexer.stack.sources import pom


class Shelf:
    """A source with made-up jars; counts how often it was asked."""

    def __init__(self, content: bytes = b"jar") -> None:
        self.content = content
        self.asked = 0

    def fetch(self, jars: Sequence[Jar], scratch: Path) -> list[Path]:
        self.asked += 1
        paths = [scratch / jar.file for jar in jars]
        for path in paths:
            path.write_bytes(self.content)
        return paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lock = tmp_path / "lock.toml"
    lock.write_text(f'[broker]\n"org.x:one:1.0" = "{hashlib.sha256(b"jar").hexdigest()}"\n')
    monkeypatch.setattr(cache, "LOCK", lock)
    monkeypatch.setenv("INDEXER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_lock_file_names_every_jar_of_a_broker_and_its_tools() -> None:
    names = {jar.artifact: jar.version for jar in locked("broker")}

    assert names["kafka-clients"] == names["kafka_2.13"] == "4.3.1"
    assert "log4j-slf4j-impl" in names
    assert "kafka-tools" in {jar.artifact for jar in locked("tools")}
    assert all(len(jar.sha256) == 64 for section in ("broker", "tools") for jar in locked(section))


def test_a_jar_is_named_by_its_coordinate() -> None:
    jar = locked("broker", '[broker]\n"org.x:one:1.0" = "ab"')[0]

    assert (jar.group, jar.file, jar.coordinate, jar.sha256) == ("org.x", "one-1.0.jar", "org.x:one:1.0", "ab")


def test_jars_are_fetched_once(home: Path) -> None:
    shelf = Shelf()

    first = installed("broker", shelf)
    again = installed("broker", shelf)

    assert first == again
    assert [path.name for path in first.iterdir()] == ["one-1.0.jar"]
    assert shelf.asked == 1


def test_two_installs_at_the_same_time_fetch_once(home: Path) -> None:
    shelf = Shelf()

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: installed("broker", shelf), range(4)))

    assert len(found) == 1
    assert shelf.asked == 1


def test_a_jar_with_another_checksum_is_not_installed(home: Path) -> None:
    with pytest.raises(UserError, match=r"org\.x:one:1\.0 has SHA-256") as caught:
        installed("broker", Shelf(b"something else"))

    assert caught.value.code == "STACK_CHECKSUM"
    assert not [path for path in home.iterdir() if path.is_dir()]


def test_what_a_killed_install_left_is_removed(home: Path) -> None:
    target = installed("broker", Shelf())
    left_over = home / f"{target.name}.part-x"
    left_over.mkdir()
    target.rename(home / "gone")

    installed("broker", Shelf())

    assert not left_over.exists()


def test_the_cache_is_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("INDEXER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert cache.cache_dir() == tmp_path / "evm-kafka-indexer"


def test_mavens_list_becomes_coordinates() -> None:
    listing = "\nThe following files:\n   org.x:one:jar:1.0:runtime -- module one\n   a.b:two:jar:2:compile\n"

    assert coordinates(listing) == ["a.b:two:2", "org.x:one:1.0"]


def test_the_tools_section_holds_only_what_the_broker_lacks() -> None:
    text = render({"a:a:1": "11"}, {"a:a:1": "11", "b:b:2": "22"})

    assert [jar.coordinate for jar in locked("broker", text)] == ["a:a:1"]
    assert [jar.coordinate for jar in locked("tools", text)] == ["b:b:2"]


def test_a_pom_for_locked_jars_asks_for_nothing_else() -> None:
    assert "<artifactId>one</artifactId><version>1.0</version><exclusions>" in pom(["org.x:one:1.0"], transitive=False)
    assert "exclusions" not in pom(["org.x:one:1.0"], transitive=True)


def test_locking_asks_maven_for_the_list_and_for_the_jars(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(folder: Path, goal: str, option: str) -> SimpleNamespace:
        target = folder / option.partition("=")[2]
        if goal == "dependency:list":
            target.write_text("   org.x:one:jar:1.0:runtime\n")
        else:
            target.mkdir()
            (target / "one-1.0.jar").write_bytes(b"jar")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(relock, "maven", answer)
    monkeypatch.setattr(relock, "LOCK", tmp_path / "lock.toml")

    relock.main()

    assert [jar.sha256 for jar in locked("broker", (tmp_path / "lock.toml").read_text())] == [
        hashlib.sha256(b"jar").hexdigest()
    ]


def test_locking_without_maven_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(relock, "maven", lambda *_arguments: SimpleNamespace(returncode=1, stdout="no such goal"))

    with pytest.raises(FatalError, match="dependency:list failed: no such goal"):
        relock.resolve(relock.BROKER, tmp_path)
