"""Options refuse numbers that no column, timer or token bucket can hold, before anything is queued."""

from __future__ import annotations

import pytest

from indexer.cli.__main__ import run

QUEUE = ("batch", "queue", "blocks", "1", "9")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-1", "1e-300"])
@pytest.mark.parametrize(
    "command", [QUEUE, ("batch", "set", "1"), ("batch", "recover", "1"), ("dlq", "replay", "--all")], ids=" ".join
)
def test_a_rate_that_cannot_be_kept_is_refused(
    command: tuple[str, ...], value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, f"--rate={value}"]) == 2

    assert "Invalid value for '--rate'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [QUEUE, ("batch", "set", "1")], ids=" ".join)
@pytest.mark.parametrize(("option", "most"), [("--window", 1_000_000), ("--batch-size", 100_000)])
def test_windows_and_batches_have_a_largest(
    command: tuple[str, ...], option: str, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, option, str(most + 1)]) == 2

    assert f"Invalid value for '{option}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("dlq", "replay", "--all", "--patience", "inf"),
        ("dlq", "replay", "--all", "--canary", str(2**31)),
        ("dlq", "replay", "--all", "--limit", str(2**31)),
        ("batch", "process", "--workers", "100000"),
    ],
    ids=" ".join,
)
def test_other_numbers_have_a_largest_too(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(list(arguments)) == 2

    assert "Invalid value for" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "--from"),
        ("verify", "--to"),
        ("audit", "--from"),
        ("audit", "--to"),
        ("repair", "--from"),
        ("repair", "--to"),
        ("redecode", "--from"),
        ("redecode", "--to"),
        ("follow", "--from"),
        ("follow", "--rollback-to"),
        ("follow", "--confirmations"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("value", [2**40, 2**62, 2**63])
def test_a_block_that_no_column_can_hold_is_refused(
    arguments: tuple[str, str], value: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, str(value)]) == 2

    assert f"Invalid value for '{arguments[1]}'" in capsys.readouterr().err


@pytest.mark.parametrize("value", [str(2**63), "99999999999999999999", "0"])
@pytest.mark.parametrize(
    "command",
    [
        ("dlq", "list", "--id"),
        ("dlq", "list", "--job"),
        ("dlq", "show"),
        ("dlq", "runs"),
        ("dlq", "replay", "--resume"),
        ("repair", "--audit"),
        ("batch", "status"),
        ("batch", "set"),
        ("batch", "pause"),
        ("batch", "resume"),
        ("batch", "cancel"),
        ("batch", "recover"),
    ],
    ids=" ".join,
)
def test_an_id_that_no_row_can_have_is_refused(
    command: tuple[str, ...], value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, value]) == 2

    assert "Invalid value for" in capsys.readouterr().err


def test_no_limit_can_be_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", "nonsense")

    assert run(["batch", "set", "1", "--rate", "0"]) == 2

    assert "DATABASE_URL" in capsys.readouterr().err  # the rate was taken, what is wrong comes after it
