"""Orders that a test leaves for a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PLACE = "decoder.after-commit"


def run(folder: Path | None, slot: str = "0") -> int:
    """Come by the place twice in a process of its own; return its exit code."""
    environ = {**os.environ, "SLOT": slot, **({"FAULT_HOOKS": str(folder)} if folder else {})}
    code = f"from indexer.faults import hook; hook({PLACE!r}); hook({PLACE!r})"
    return subprocess.run([sys.executable, "-c", code], env=environ).returncode


def test_without_a_folder_nothing_happens() -> None:
    assert run(None) == 0


def test_without_an_order_nothing_happens(tmp_path: Path) -> None:
    assert run(tmp_path) == 0


def test_the_first_process_obeys_and_leaves_a_proof(tmp_path: Path) -> None:
    (tmp_path / PLACE).write_text("kill")

    assert run(tmp_path) == -signal.SIGKILL
    assert [path.name.startswith(f"{PLACE}.fired.") for path in tmp_path.iterdir()] == [True]
    assert run(tmp_path) == 0


def test_an_order_for_a_slot_is_obeyed_by_that_slot_only(tmp_path: Path) -> None:
    (tmp_path / f"{PLACE}@1").write_text("term")

    assert run(tmp_path, slot="0") == 0
    assert run(tmp_path, slot="1") == -signal.SIGTERM
