"""devchain for tests and benchmarks: a node in a process of its own, and the requests that direct it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

_URLS = re.compile(r"http://\S+")
_WS_URL = re.compile(r"ws://\S+")


class DevchainError(RuntimeError):
    """The node did not start, or refused what it was told."""


class Devchain:
    """A node that runs as long as the `with` block, on a free port.

    `Devchain.simulated(profile="small", blocks=100)`, `Devchain.recorded([path], chain_id=1)`; then `.url`,
    `.twin` (the lagging second endpoint, if asked for), `.call`, `.faults`, `.stats`, `.stop`.
    """

    def __init__(self, arguments: list[str], *, cwd: Path | None = None) -> None:
        command = [sys.executable, "-m", "devchain", *arguments, "--port", "0", "--until-stdin-closes"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        urls = _URLS.findall(line)
        if not urls:
            self.stop()
            raise DevchainError(f"devchain {' '.join(arguments)} did not start (see standard error)")
        self.url: str = urls[0]
        self.twin: Remote | None = Remote(urls[1]) if len(urls) > 1 else None
        self.ws_url: str | None = next(iter(_WS_URL.findall(line)), None)
        self._remote = Remote(self.url)

    @classmethod
    def simulated(cls, *, twin_lag: int | None = None, cwd: Path | None = None, **options: Any) -> Devchain:
        """A chain from a seed; `options` are those of `devchain serve` (`blocks=100`, `no_receipts_method=True`)."""
        return cls(["serve", *_arguments(options), *_twin(twin_lag)], cwd=cwd)

    @classmethod
    def recorded(
        cls, files: list[Path], *, twin_lag: int | None = None, cwd: Path | None = None, **options: Any
    ) -> Devchain:
        """Recorded blocks; `options` are those of `devchain recorded`."""
        return cls(["recorded", *map(str, files), *_arguments(options), *_twin(twin_lag)], cwd=cwd)

    @property
    def pid(self) -> int:
        """The node's process."""
        return self._process.pid

    def call(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC call."""
        return self._remote.call(method, *params)

    def faults(self, **changes: Any) -> dict[str, Any]:
        """Change faults (see `devchain/faults.py`); `reset=True` first takes all back."""
        return self._remote.faults(**changes)

    def grow(self, blocks: int = 1) -> int:
        """Add blocks up to the highest that was built; returns the head."""
        return self._remote.direct(grow=blocks)

    def reorg(self, depth: int, length: int | None = None) -> int:
        """Let the highest `depth` blocks give way to `length` others (one more by default); returns the head."""
        return self._remote.direct(reorg={"depth": depth, "length": length})

    def stats(self, *, blocks: bool = False) -> dict[str, Any]:
        """What was asked for; with `blocks` how often each block was told, per method."""
        return self._remote.stats(blocks=blocks)

    def reset_stats(self) -> None:
        """Count from zero again."""
        self._remote.reset_stats()

    def stop(self) -> None:
        """End the node and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Devchain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Remote:
    """The requests to one endpoint of a running devchain."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC call."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self._ask("POST", "", request)
        if "error" in answer:
            raise DevchainError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def faults(self, **changes: Any) -> dict[str, Any]:
        """Change faults; returns them all."""
        return self._object("POST", "/faults", changes)

    def direct(self, **wish: Any) -> int:
        """Have the chain grow or fork; returns its head."""
        return int(self._object("POST", "/chain", wish)["head"])

    def stats(self, *, blocks: bool = False) -> dict[str, Any]:
        """The counters."""
        return self._object("GET", "/stats/blocks" if blocks else "/stats")

    def reset_stats(self) -> None:
        """Count from zero again."""
        self._object("DELETE", "/stats")

    def _object(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        answer = self._ask(method, path, content)
        assert isinstance(answer, dict)
        return answer

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, body, method=method)  # noqa: S310 - our own http URL
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise DevchainError(f"{error.code} from devchain: {error.read(500).decode(errors='replace')}") from error


def _arguments(options: dict[str, Any]) -> list[str]:
    """Keywords as command-line options; a `faults` dictionary as `--fault NAME=VALUE`."""
    arguments: list[str] = []
    for name, value in options.items():
        if name == "faults":
            for fault, setting in value.items():
                arguments += ["--fault", f"{fault}={json.dumps(setting)}"]
        elif value is True:
            arguments.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def _twin(lag: int | None) -> list[str]:
    return [] if lag is None else ["--twin-port", "0", "--twin-lag", str(lag)]
