"""Processes under a guard: they end with their owner unless they are released."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.errors import FatalError
from indexer.stack import process


def sleeper(tmp_path: Path, **options: object) -> process.Guarded:
    return process.spawn(["sleep", "60"], log=tmp_path / "log", alive=tmp_path / "alive", **options)  # type: ignore[arg-type]


def alive(guarded: process.Guarded) -> bool:
    assert guarded.process is not None
    return guarded.process.alive()


def test_a_guarded_process_ends_when_its_owner_lets_go(tmp_path: Path) -> None:
    guarded = sleeper(tmp_path)
    before = alive(guarded)

    guarded.close()

    assert before
    assert not alive(guarded)


def test_a_released_process_lives_on(tmp_path: Path) -> None:
    guarded = sleeper(tmp_path)
    assert guarded.process is not None

    guarded.release()

    assert guarded.process.alive()
    assert guarded.guard.returncode == 0
    process.end([guarded.process], signal.SIGTERM, 5)


def test_a_guarded_process_ends_with_an_owner_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from indexer.stack import process;"
        "here = Path(sys.argv[1]); gone = here / 'gone'; gone.mkdir();"
        "g = process.spawn(['sleep', '60'], log=here / 'log', alive=here / 'alive', remove=gone);"
        "print(g.process.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    found = process.identify(int(owner.stdout.readline()))
    assert found is not None

    owner.kill()
    owner.communicate()

    assert process.wait_for_guards(tmp_path / "alive")
    assert not found.alive()
    assert not (tmp_path / "gone").exists()


def test_a_guard_that_is_terminated_takes_its_process_along(tmp_path: Path) -> None:
    guarded = sleeper(tmp_path)

    guarded.guard.terminate()
    guarded.guard.wait()

    assert not alive(guarded)
    guarded.close()


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    deaf = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)",
    ]
    guarded = process.spawn(deaf, log=tmp_path / "log", alive=tmp_path / "alive")
    assert guarded.process is not None
    assert process.wait_until(lambda: (tmp_path / "log").read_text() == "1\n", 10)

    process.end([guarded.process], signal.SIGTERM, 0.2)

    assert not guarded.process.alive()
    guarded.close()


def test_a_guarded_process_counts_as_alive_until_it_is_over(tmp_path: Path) -> None:
    guarded = sleeper(tmp_path)

    during = process.wait_for_guards(tmp_path / "alive", 0.1)
    guarded.close()

    assert not during
    assert process.wait_for_guards(tmp_path / "alive", 5)


def test_a_short_command_that_fails_is_told_by_the_line_that_matters(tmp_path: Path) -> None:
    failing = ["sh", "-c", "echo 'fatal Exception: no space'; echo '  at somewhere'; exit 3"]

    with pytest.raises(FatalError, match="sh failed with exit code 3: fatal Exception: no space"):
        process.run(failing, log=tmp_path / "log", alive=tmp_path / "alive")


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="cannot start no-such-program"):
        process.run(["/no-such-program"], log=tmp_path / "log", alive=tmp_path / "alive")


def test_children_are_found() -> None:
    child = subprocess.Popen(["sleep", "60"])

    found = [process_id.pid for process_id in process.children(os.getpid())]
    child.kill()
    child.wait()

    assert child.pid in found
    assert process.identify(child.pid) is None


def test_processes_are_told_apart_without_proc_too() -> None:
    assert process._started_by_ps(os.getpid())
    assert process._started_by_ps(2**22 + 1) is None


def test_a_log_that_is_not_there_says_so(tmp_path: Path) -> None:
    assert process.last_line(tmp_path / "none") == "it wrote no log"
