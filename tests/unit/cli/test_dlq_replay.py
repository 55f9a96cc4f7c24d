"""What `indexer dlq replay` takes and refuses, before anything is asked for."""

from __future__ import annotations

import pytest

from indexer.cli.__main__ import run


@pytest.mark.parametrize(
    "more",
    [
        ("--rate", "5"),
        ("--limit", "1"),
        ("--canary", "0"),  # its default too: what is said is meant
        ("--state", "quarantined"),
        ("--blocks", "1-9"),
        ("--all",),
    ],
    ids=" ".join,
)
def test_what_only_a_new_run_can_follow_is_refused_beside_resume(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dlq", "replay", "--resume", "1", *more]) == 2

    said = capsys.readouterr().err
    assert said == (f"error: --resume goes on with the letters, rate and canaries of the run, and takes no {more[0]}\n")


def test_a_resumed_run_takes_what_is_about_the_command_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("DATABASE_URL", "nonsense")

    assert run(["dlq", "replay", "--resume", "1", "--dry-run", "--yes", "--json", "--patience", "5"]) == 2

    assert "DATABASE_URL" in capsys.readouterr().err  # the options were taken, what is wrong comes after them
