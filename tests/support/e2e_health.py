"""Services that answer for their health over HTTP; nobody starts them again, so that an end is seen."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from indexer.local.supervisor import Child
from indexer.stack.layout import free_port
from tests.support.e2e_services import Services


@dataclass(frozen=True, slots=True)
class Watched:
    """One process, and the port on which it answers."""

    child: Child
    port: int

    def problems(self) -> set[str] | None:
        """Return the codes that keep it from its work; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return set(json.load(answer)["problems"])
        except urllib.error.HTTPError as error:
            return set(json.load(error)["problems"])
        except OSError:
            return None

    def ready(self) -> bool:
        return self.problems() == set()

    def alive(self) -> bool:
        """True while it runs, in the life that the test started, and says that its loop turns."""
        if self.child.pid is None or self.child.restarts:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def watched(services: Services, counts: Mapping[str, int]) -> list[Watched]:
    """Start so many of each service, with a port of its own for each."""
    taken: set[int] = set()
    found = []
    for service, count in counts.items():
        for slot in range(count):
            port = free_port(taken)
            found.append(Watched(services.alone(service, slot, METRICS_PORT=str(port)), port))
    return found
