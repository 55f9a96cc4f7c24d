"""PostgreSQL's pid file, when the process table disagrees with it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from indexer.stack import process
from indexer.stack.postgres import NO_PID, disown_zombie


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "postmaster.pid"


def test_a_zombie_is_not_taken_for_a_server(pid_file: Path) -> None:
    dead = subprocess.Popen(["true"])
    assert process.wait_until(lambda: process.identify(dead.pid) is None, 10)
    pid_file.write_text(f"{dead.pid}\n/data\n123\n")

    disown_zombie(pid_file)
    dead.wait()

    assert pid_file.read_text() == f"{NO_PID}\n/data\n123\n"


def test_a_running_server_keeps_its_file(pid_file: Path) -> None:
    pid_file.write_text(f"{os.getpid()}\n/data\n")

    disown_zombie(pid_file)

    assert pid_file.read_text() == f"{os.getpid()}\n/data\n"


def test_no_file_is_fine(pid_file: Path) -> None:
    disown_zombie(pid_file)

    assert not pid_file.exists()
