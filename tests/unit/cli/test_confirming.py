"""Nothing is changed unless somebody said so."""

from __future__ import annotations

import io

import click
import pytest

from indexer.cli.selecting import confirm
from indexer.errors import UserError


class Terminal(io.StringIO):
    """Standard input of somebody who answers."""

    def isatty(self) -> bool:
        return True


def test_yes_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())

    confirm("drop it?", yes=True)
    confirm("drop it?", yes=True, as_json=True)


def test_without_a_terminal_nothing_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(UserError, match="--yes") as refused:
        confirm("drop it?", yes=False)

    assert refused.value.code == "NOT_CONFIRMED"


def test_what_a_program_reads_holds_no_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))

    with pytest.raises(UserError, match="--yes") as refused:
        confirm("drop it?", yes=False, as_json=True)

    assert refused.value.code == "NOT_CONFIRMED"
    assert capsys.readouterr().out == ""


def test_on_a_terminal_the_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\nn\n"))

    confirm("drop it?", yes=False)
    with pytest.raises(click.Abort):
        confirm("drop it?", yes=False)
