"""The guard's own decisions, without a process around it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.stack import guard


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def arguments(tmp_path: Path, reader: int, *command: str) -> list[str]:
    gone = tmp_path / "gone"
    gone.mkdir()
    return ["--lifeline", str(reader), "--log", str(tmp_path / "log"), "--remove", str(gone), "--", *command]


def pid(capfd: pytest.CaptureFixture[str]) -> int:
    return int(capfd.readouterr().out)


def test_a_released_server_stays(tmp_path: Path, pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    os.write(pipe[1], b"r")

    code = guard.main(arguments(tmp_path, pipe[0], "sleep", "60"))

    os.kill(pid(capfd), signal.SIGKILL)
    assert code == 0
    assert (tmp_path / "gone").exists()
    os.close(pipe[1])


def test_a_closed_lifeline_ends_the_server_and_removes_the_folder(
    tmp_path: Path, pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    os.close(pipe[1])

    code = guard.main(arguments(tmp_path, pipe[0], "sleep", "60"))

    assert code == 1
    assert not (tmp_path / "gone").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid(capfd), 0)


@pytest.mark.parametrize(("command", "expected"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_a_server_that_ends_by_itself_tells_its_code(
    tmp_path: Path, pipe: tuple[int, int], command: str, expected: int
) -> None:
    code = guard.main(arguments(tmp_path, pipe[0], "sh", "-c", command))

    assert code == expected
    os.close(pipe[1])


def test_a_server_that_does_not_listen_is_killed(
    tmp_path: Path, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "GRACE", 0.1)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    server = guard.spawn([sys.executable, "-c", deaf], tmp_path / "log", None)
    while not (tmp_path / "log").read_text():
        pass

    guard.end(server, signal.SIGTERM)

    assert server.returncode == -signal.SIGKILL
    os.close(pipe[1])


def test_a_sigterm_for_the_guard_is_for_the_server() -> None:
    with pytest.raises(guard.EndError):
        guard.on_sigterm(signal.SIGTERM, None)
