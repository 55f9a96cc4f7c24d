"""An output that takes no more is the disk's fault, and said in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_in_one_line() -> None:
    with FULL.open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "indexer.cli", "config"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )

    assert ran.returncode == 1
    assert ran.stderr == "error: the output cannot be written: No space left on device\n"
