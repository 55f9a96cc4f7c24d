"""The time of day, which a test may step for one process while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SAYS_HOW_FAR_IT_IS_AHEAD = """
import os, sys, time
from pathlib import Path
from indexer.clock import wall, wall_ms

order = Path(sys.argv[1]) / f"clock.{os.getpid()}"
def ahead(): print(round(wall() - time.time()), round(wall_ms() / 1000 - time.time()))
ahead()
for seconds in ("3600", "-7200.1"):
    order.write_text(seconds)
    ahead()
order.unlink()
ahead()
"""


def run(folder: Path, environ: dict[str, str]) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "FAULT_HOOKS"}
    command = [sys.executable, "-c", SAYS_HOW_FAR_IT_IS_AHEAD, str(folder)]
    return subprocess.run(command, env=inherited | environ, capture_output=True, text=True, check=True).stdout.split()


def test_a_step_is_seen_at_once_and_so_is_its_end(tmp_path: Path) -> None:
    assert run(tmp_path, {"FAULT_HOOKS": str(tmp_path)}) == ["0", "0", "3600", "3600", "-7200", "-7200", "0", "0"]


def test_nobody_steps_a_clock_where_no_faults_are_wanted(tmp_path: Path) -> None:
    assert run(tmp_path, {}) == ["0"] * 8


def test_nothing_asks_for_the_time_of_day_elsewhere() -> None:
    root = Path(__file__).parents[2]
    asks = ("time.time(", "time.time,", "time.time\n", "time.time_ns", "datetime.now(", "utcnow(")
    files = [path for folder in ("indexer", "services") for path in (root / folder).rglob("*.py")]

    found = {str(path.relative_to(root)) for path in files if any(ask in path.read_text() for ask in asks)}

    assert found == {"indexer/clock.py", "indexer/cli/selecting.py"}  # a person's own clock
