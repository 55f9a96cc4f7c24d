"""The requests that direct a running node: faults, counters, health."""

from __future__ import annotations

from typing import Any

import orjson

from devchain.endpoint import Endpoint
from devchain.faults import FaultError


def administer(endpoint: Endpoint, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Answer /faults (GET, POST), /stats and /stats/blocks (GET, DELETE) and /health."""
    if path == "/faults" and method == "POST":
        try:
            changes = orjson.loads(body)
            if not isinstance(changes, dict):
                raise FaultError("faults are a JSON object")
            endpoint.faults.update(changes)
        except (FaultError, orjson.JSONDecodeError) as error:
            return 400, {"error": str(error)}
        if "seed" in changes or "reset" in changes:
            endpoint.dice.reseed()
        return 200, endpoint.faults.as_json()
    if path == "/faults" and method == "GET":
        return 200, endpoint.faults.as_json()
    if path in ("/stats", "/stats/blocks") and method == "GET":
        return 200, endpoint.stats.as_json(endpoint.dice.hits, blocks=path.endswith("blocks"))
    if path == "/stats" and method == "DELETE":
        endpoint.stats.reset()
        endpoint.dice.hits.clear()
        return 200, {}
    if path == "/health":
        return 200, {"chain_id": endpoint.store.chain_id, "head": endpoint.head()}
    return 404, {"error": f"no {method} {path[:40]}"}
