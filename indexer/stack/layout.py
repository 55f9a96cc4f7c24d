"""What a stack is made of (layout) and which of its processes run (state): two small JSON files in its folder.

The layout stays over `down` and `up`, so that ports and exported variables stay true; the state is there only while
something runs.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import secrets
import socket
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import UserError
from indexer.stack.process import ProcessId

# Below the range from which kernels take the ports of outgoing connections: a port that was free stays free while its
# server is killed and started again.
PORTS = range(12000, 32000)


@dataclass(frozen=True, slots=True)
class Broker:
    """One combined broker and controller."""

    id: int
    port: int
    controller_port: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a stack: made once, kept for as long as its data."""

    cluster_id: str
    brokers: tuple[Broker, ...]
    postgres_port: int
    postgres_password: str

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    @property
    def database_url(self) -> str:
        return f"postgresql://postgres:{self.postgres_password}@127.0.0.1:{self.postgres_port}/postgres"


@dataclass(frozen=True, slots=True)
class State:
    """The processes of a stack, and the servers that it uses instead of its own."""

    ready: bool  # False while `up` is at work, or was killed
    brokers: dict[int, ProcessId] = dataclasses.field(default_factory=dict)
    postgres: ProcessId | None = None
    external_kafka: str | None = None
    external_database: str | None = None

    def processes(self) -> list[ProcessId]:
        return [*self.brokers.values(), *([self.postgres] if self.postgres else [])]


def new_layout(brokers: int) -> Layout:
    """A layout with free ports, a new cluster id and a new password."""
    taken: set[int] = set()
    made = tuple(Broker(number, free_port(taken), free_port(taken)) for number in range(brokers))
    return Layout(new_cluster_id(), made, free_port(taken), secrets.token_hex(12))


def new_cluster_id(random_bytes: Callable[[], bytes] = lambda: uuid.uuid4().bytes) -> str:
    """A random id in Kafka's spelling: 22 characters, the first no dash, which its tools would take for an option."""
    while (made := base64.urlsafe_b64encode(random_bytes()).decode().rstrip("=")).startswith("-"):
        pass
    return made


def free_port(taken: set[int]) -> int:
    """A port of PORTS that nobody listens on and that is not in `taken`, to which it is added."""
    for port in random.sample(PORTS, 200):
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise UserError(f"no free port found between {PORTS.start} and {PORTS.stop}")


def is_free(port: int) -> bool:
    """True when a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def with_free_ports(layout: Layout) -> Layout:
    """The same layout, every port that somebody else took meanwhile replaced."""
    taken: set[int] = set()

    def keep(port: int) -> int:
        return port if is_free(port) else free_port(taken)

    brokers = tuple(Broker(b.id, keep(b.port), keep(b.controller_port)) for b in layout.brokers)
    return dataclasses.replace(layout, brokers=brokers, postgres_port=keep(layout.postgres_port))


class Folder:
    """A stack's folder and the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.lock = self.path / "lock"  # held by whoever starts or stops
        self.alive = self.path / "alive"  # held by the guards of what is not released
        self._layout = self.path / "layout.json"
        self._state = self.path / "state.json"

    def broker(self, number: int) -> Path:
        return self.path / f"broker-{number}"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    def is_ours(self) -> bool:
        """True for a folder that a stack made; only such a folder is ever written to or removed."""
        return self._layout.exists()

    def layout(self) -> Layout | None:
        found = _read(self._layout)
        if found is None:
            return None
        return Layout(**{**found, "brokers": tuple(Broker(**broker) for broker in found["brokers"])})

    def state(self) -> State | None:
        found = _read(self._state)
        if found is None:
            return None
        brokers = {int(number): ProcessId(**process) for number, process in found["brokers"].items()}
        postgres = ProcessId(**found["postgres"]) if found["postgres"] else None
        return State(**{**found, "brokers": brokers, "postgres": postgres})

    def save(self, value: Layout | State) -> None:
        """Write atomically and for the owner only: the layout holds a password."""
        target = self._layout if isinstance(value, Layout) else self._state
        fresh = target.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(dataclasses.asdict(value), indent=1) + "\n")
        fresh.replace(target)

    def forget_state(self) -> None:
        self._state.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove the folder {path.parent}") from error
    return found


def check_broker_count(layout: Layout, wanted: int | None, allowed: Collection[int] = (1, 3)) -> None:
    """Refuse to change the number of brokers of a stack that has data."""
    if wanted is not None and wanted not in allowed:
        raise UserError(f"a stack has 1 or 3 brokers, not {wanted}")
    if wanted is not None and wanted != len(layout.brokers):
        raise UserError(
            f"this stack was made with {len(layout.brokers)} broker(s); "
            f"for {wanted} use another --data-dir, or remove it with `indexer stack down --wipe`"
        )
