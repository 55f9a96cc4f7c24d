"""The users' own spellings of `batch`: `blocks` and `range` are one command."""

from __future__ import annotations

import pytest

from indexer.cli.__main__ import run


@pytest.mark.parametrize("spelling", ["blocks", "range"])
def test_a_range_is_queued_under_both_names(spelling: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["batch", "queue", spelling, "--help"])
    assert f"indexer batch queue {spelling} [OPTIONS] FIRST LAST" in capsys.readouterr().out

    code = run(["batch", "queue", spelling, "9", "3", "--batch-size", "100", "--priority", "earliest"])
    assert code == 2
    assert "the range 9–3 is empty" in capsys.readouterr().err
