"""Addresses, folders and files that cannot be used: one line, an exit code, and nothing of a password."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from devchain.__main__ import main as devchain
from indexer.cli import __main__ as command_line
from indexer.cli.__main__ import run
from indexer.errors import UserError
from indexer.stack.report import host
from indexer.storage.engine import _address, psycopg_url

SECRET = "s3cr3tpart"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "RPC_URLS", "KAFKA_BOOTSTRAP_SERVERS", "INDEXER_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    assert SECRET not in said.out + said.err
    return said.err.rstrip()


@pytest.mark.parametrize("command", [("db", "check"), ("config",)], ids=" ".join)
@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", f"postgresql://u:{SECRET}@[::1/x"), ("RPC_URLS", f"http://ok,http://[::1/{SECRET}")],
)  # fmt: skip
def test_an_address_that_cannot_be_taken_apart_is_the_users_to_mend(
    name: str,
    url: str,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, url)

    assert run([*command]) == 2

    assert one_line(capsys).startswith(f"error: {name}: not a URL")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("RPC_URLS", f"http://ok,localhost:8545/{SECRET}"),
        ("RPC_URLS", f"node.example/{SECRET}"),
        ("RPC_URLS", f"http:///{SECRET}"),
        ("RPC_URLS", f"ws://user:{SECRET}@node.example"),
        ("RPC_WS_URL", f"node.example/{SECRET}"),
    ],
)
def test_a_node_without_scheme_or_host_is_refused(
    name: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, url)

    assert run(["config"]) == 2

    assert one_line(capsys).startswith(f"error: {name}: a URL begins with ")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        (f"postgresql://u:p@{SECRET}@127.0.0.1:1/x", "write %40 for @"),
        (f"postgresql://u:p/{SECRET}@127.0.0.1:1/x", "write %40 for @"),
        (f"postgresql://u:{SECRET}@127.0.0.1:99999/x", "the port"),
        (f"postgresql://u:{SECRET}@127.0.0.1:port/x", "the port"),
        (f"postgresql://u:{SECRET}@a:1,b:0/x", "the port"),
        (f"postgresql://u:{SECRET}@[::1/x", "not a valid"),
    ],
)
def test_a_database_url_that_was_read_otherwise_than_meant_is_refused(url: str, what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        psycopg_url(url)

    assert SECRET not in str(caught.value)
    assert caught.value.code == "DATABASE_URL_INVALID"


@pytest.mark.parametrize(
    "url", ["postgresql://u:a%40b@h:5432/x", "postgresql://a:1,b:2/x", "postgresql:///x?host=/tmp"]
)
def test_what_libpq_reads_as_it_is_meant_is_taken(url: str) -> None:
    assert psycopg_url(url) == url


def test_of_a_database_only_host_and_port_are_shown() -> None:
    assert _address({"host": f"{SECRET}@127.0.0.1", "port": "1"}) == "127.0.0.1:1"
    assert _address({"host": "::1", "port": "5432"}) == "[::1]:5432"
    assert _address({}) == "local"


def test_the_stack_refuses_such_an_address_too() -> None:
    with pytest.raises(UserError, match="DATABASE_URL"):
        host(f"postgresql://u:{SECRET}@[::1/x")


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".env").write_bytes(b"WINDOW=\xff\xfe\n")

    assert run(["config"]) == 2

    assert one_line(capsys) == "error: .env is not UTF-8 text"


@pytest.mark.parametrize("command", ["up", "status", "env", "down"])
def test_a_folder_below_a_file_cannot_hold_a_stack(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert run(["stack", command, "--data-dir", str(tmp_path / "file" / "x")]) == 2

    assert "x cannot be used: Not a directory" in one_line(capsys)


class Broken:
    """Stands for a command with a mistake of ours in it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def main(self, *_: object, **__: object) -> None:
        raise self._error


def test_a_mistake_of_ours_is_one_line_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "cli", Broken(ValueError(f"postgresql://u:{SECRET}@h/x")))

    assert run([]) == 1

    line = one_line(capsys)
    assert line.startswith("error: ValueError at test_bad_addresses.py:")
    assert line.endswith("this is a bug of ours; INDEXER_TRACEBACK=1 shows more")


def test_more_of_it_is_shown_when_asked_for_but_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "cli", Broken(ValueError(SECRET)))
    monkeypatch.setenv("INDEXER_TRACEBACK", "1")

    assert run([]) == 1

    said = capsys.readouterr().err
    assert "in main" in said
    assert SECRET not in said


def test_a_database_that_goes_away_in_between_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "cli", Broken(psycopg.errors.AdminShutdown(SECRET)))

    assert run([]) == 1

    assert one_line(capsys) == "error: the database went away, or could not do it now: try again"


def test_a_file_that_cannot_be_used_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "cli", Broken(PermissionError(13, "Permission denied", "/x")))

    assert run([]) == 1

    assert one_line(capsys) == "error: /x: Permission denied"


@pytest.mark.parametrize(
    ("options", "code", "what"),
    [
        (("--port", "99999"), 2, "Invalid value for '--port'"),
        (("--twin-port", "-1"), 2, "Invalid value for '--twin-port'"),
        (("--cache", "file/x"), 1, "cannot build into file/x: Not a directory"),
    ],
)
def test_the_development_node_says_what_it_cannot_use(
    options: tuple[str, ...], code: int, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SystemExit) as caught:
        devchain(["serve", "--blocks", "1", *options])

    assert caught.value.code == code
    assert what in capsys.readouterr().err
