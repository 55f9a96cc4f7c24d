"""What `indexer audit` refuses before it looks at anything."""

from __future__ import annotations

import pytest

from indexer.cli.__main__ import run


@pytest.mark.parametrize("verb", ["--resume", "--pause", "--cancel"])
@pytest.mark.parametrize("more", [("--from", "5"), ("--sample", "100"), ("--job",), ("--no-balances",)], ids=" ".join)
def test_an_audit_that_exists_keeps_what_it_was_begun_with(
    verb: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", verb, "1", *more]) == 2

    named = "--balances" if more == ("--no-balances",) else more[0]
    assert capsys.readouterr().err == f"error: an audit keeps what it was begun with: no {named} here\n"


def test_one_wish_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "--pause", "1", "--cancel", "1"]) == 2

    assert "no --cancel here" in capsys.readouterr().err
