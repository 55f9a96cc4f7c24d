"""`indexer config` tells what is in force, and keeps secrets to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from indexer import settings
from indexer.cli.config import config


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("WINDOW=640\n")
    return CliRunner(env={"CHAIN_ID": "1", "RPC_URLS": "https://node.example/v3/topsecret", "WINDOW": None})


def test_every_setting_has_its_value_and_origin(run: CliRunner) -> None:
    shown = json.loads(run.invoke(config, ["--json"]).output)

    assert shown["CHAIN_ID"] == {"value": "1", "origin": "environment"}
    assert shown["WINDOW"] == {"value": "640", "origin": ".env"}
    assert shown["VERIFY"] == {"value": "full", "origin": "default"}


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_secret_is_not_shown(run: CliRunner, arguments: list[str]) -> None:
    output = run.invoke(config, arguments).output

    assert "node.example" in output
    assert "topsecret" not in output


def test_what_is_not_set_says_so(run: CliRunner) -> None:
    lines = run.invoke(config, []).output.splitlines()

    assert any(line.split() == ["SCHEMA_REGISTRY_URL", "(not", "set)", "[default]"] for line in lines)


def test_the_example_is_the_one_that_is_checked_in(run: CliRunner) -> None:
    assert run.invoke(config, ["--example"]).output == settings.example()
