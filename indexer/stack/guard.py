"""Run one server for as long as somebody holds the other end of a pipe, or until that end says that it may stay.

Started as a script of its own (`python -I -S guard.py …`) in a new session: a Ctrl+C in the terminal does not reach it,
and however its owner ends, SIGKILL included, the kernel closes the pipe and the guard ends the server.

    guard.py --lifeline FD --log FILE [--user NAME] [--end-signal N] [--remove DIR] -- COMMAND …

It prints the server's pid, then waits for one of

- the server ended: exit with its code
- a byte on the lifeline: exit, the server stays (`release`)
- the lifeline closed, or a SIGTERM: end the server, remove DIR, exit
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

POLL = 0.1
GRACE = 5.0


class EndError(Exception):
    """SIGTERM was received."""


def spawn(command: list[str], log: Path, user: str | None) -> subprocess.Popen[bytes]:
    """Start the server with its output in `log`, as `user` where one is named (PostgreSQL refuses root)."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            cwd="/",
        )


def watch(server: subprocess.Popen[bytes], lifeline: int) -> int | None:
    """Return the server's exit code, 0 once it is released, None when it must end."""
    while server.poll() is None:
        ready, _, _ = select.select([lifeline], [], [], POLL)
        if ready:
            return 0 if os.read(lifeline, 1) else None
    return exit_code(server)


def exit_code(server: subprocess.Popen[bytes]) -> int:
    """The code a shell would show: 128 + the signal for a server that was killed."""
    code = server.returncode
    return 128 - code if code < 0 else code


def end(server: subprocess.Popen[bytes], how: int) -> None:
    """Send the signal that ends this kind of server, and SIGKILL when it does not listen."""
    server.send_signal(how)
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def remove(folder: str) -> None:
    """Remove a throw-away folder; other guards may still be writing to it, and remove it again when they end."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            return
        time.sleep(POLL)


def on_sigterm(_signal: int, _frame: object) -> None:
    raise EndError


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--user")
    parser.add_argument("--end-signal", type=int, default=signal.SIGKILL)
    parser.add_argument("--remove")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = spawn(options.command, options.log, options.user)
    try:
        signal.signal(signal.SIGTERM, on_sigterm)
        os.write(sys.stdout.fileno(), f"{server.pid}\n".encode())
        code = watch(server, options.lifeline)
    except (EndError, BrokenPipeError):
        code = None
    if code is not None:
        return code
    end(server, options.end_signal)
    if options.remove:
        remove(options.remove)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
