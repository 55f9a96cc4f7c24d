"""Anvil for tests: found where `make anvil` puts it, or installed by it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from indexer.stack.process import spawn
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
_INSTALLED = ROOT / ".local" / "anvil" / "node_modules" / "@foundry-rs"
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")


def anvil_binary() -> Path:
    """The program itself, not npm's wrapper, which would outlive us; a test fails where it cannot be installed."""
    found = _find()
    if found is None:
        made = subprocess.run(["make", "anvil"], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
        found = _find()
        if found is None:
            said = (made.stderr.strip() or made.stdout.strip()).splitlines()
            pytest.fail(f"Anvil is not installed, and `make anvil` failed: {said[-1] if said else made.returncode}")
    return found


def _find() -> Path | None:
    for path in sorted(_INSTALLED.glob("anvil-*/bin/anvil")):
        return path
    on_path = shutil.which("anvil")
    if on_path is None or "node_modules" in on_path:
        return None
    return Path(on_path)


class Anvil:
    """A node on a free port, which mines only when told to; it ends with the `with` block or with this process."""

    def __init__(self, folder: Path, chain_id: int, *options: str) -> None:
        self._log = folder / "anvil.log"
        command = [str(anvil_binary()), "--port", "0", "--chain-id", str(chain_id), "--no-mining", "--order", "fifo"]
        self._process = spawn([*command, *options], log=self._log, alive=folder / "anvil.alive")
        try:
            port = wait_for(self._port, 20, "anvil listens")
        except AssertionError:
            self._process.close()
            raise
        self.url = f"http://127.0.0.1:{port}"

    def _port(self) -> str | None:
        found = _LISTENING.search(self._log.read_text() if self._log.exists() else "")
        return found[1] if found else None

    def __enter__(self) -> Anvil:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()
