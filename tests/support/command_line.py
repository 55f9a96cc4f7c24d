"""The command line as people run it: inside the test, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from indexer.cli.__main__ import run
from indexer.settings import Settings


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]  # command(settings, "verify", "--json")


def variables(settings: Settings) -> dict[str, str]:
    """The environment that says what `settings` say."""
    found = {each.name.upper(): getattr(settings, each.name) for each in fields(Settings)}
    return {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in found.items()}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs the command line in this process, where no `.env` is; a traceback fails the test."""
    monkeypatch.chdir(tmp_path)

    def ran(settings: Settings, *arguments: object) -> Ran:
        for name, value in variables(settings).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return ran


def ran_apart(settings: Settings, folder: Path, *arguments: object, seconds: float = 60.0) -> Ran:
    """Run the command line as a process of its own in `folder`; it and its children end with the test."""
    done = subprocess.run(
        [sys.executable, "-m", "indexer.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **variables(settings)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
