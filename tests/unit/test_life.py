"""A process learns from its slot's folder how its predecessor died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.caution import Death
from indexer.errors import FatalError
from indexer.life import Life, oom_kills


def successor(folder: Path, kills: int = 0) -> Death | None:
    with Life(folder, "decoder-0", kills=lambda: kills) as life:
        return life.death


def die(folder: Path, how: str) -> None:
    """Live as a process of its own that ends in this way."""
    code = (
        "import ctypes, os, signal; from pathlib import Path; from indexer.life import Life\n"
        f"with Life(Path({str(folder)!r}), 'decoder-0', kills=lambda: 0): {how}"
    )
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)


def test_after_an_orderly_end_nothing_is_known_of_a_death(tmp_path: Path) -> None:
    assert successor(tmp_path) is None
    assert successor(tmp_path) is None
    assert list(tmp_path.glob("*.life")) == []


def test_an_exception_that_nobody_caught_is_a_death_with_its_place(tmp_path: Path) -> None:
    die(tmp_path, "{}['x']")

    death = successor(tmp_path)

    assert death is not None
    assert (death.cause, death.counts) == ("KeyError in __main__.<module>", True)


def test_an_error_that_says_why_the_process_must_end_is_none(tmp_path: Path) -> None:
    with pytest.raises(FatalError), Life(tmp_path, "decoder-0"):
        raise FatalError("another chain's node")

    assert successor(tmp_path) is None


@pytest.mark.parametrize(("number", "cause"), [("SIGSEGV", "Segmentation fault"), ("SIGABRT", "Aborted")])
def test_a_fatal_signal_is_a_death(tmp_path: Path, number: str, cause: str) -> None:
    die(tmp_path, f"os.kill(os.getpid(), signal.{number})")

    death = successor(tmp_path)

    assert death is not None
    assert death.counts
    assert cause in death.cause


def test_a_kill_from_outside_counts_only_when_memory_ran_out(tmp_path: Path) -> None:
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    die(tmp_path, kill)
    from_outside = successor(tmp_path, kills=0)
    die(tmp_path, kill)
    starved = successor(tmp_path, kills=1)

    assert from_outside is not None
    assert (from_outside.cause, from_outside.counts) == ("killed", False)
    assert starved is not None
    assert (starved.cause, starved.counts) == ("out of memory", True)


def test_a_torn_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "decoder-0.life").write_text('{"at_ms"')

    assert successor(tmp_path) is None


def test_the_kernels_count_is_a_number() -> None:
    assert oom_kills() >= 0
