"""The requests that direct a running node: faults, counters, health, growth and forks."""

from __future__ import annotations

from typing import Any

import orjson

from devchain.chain import Chain, ChainError
from devchain.endpoint import Endpoint
from devchain.faults import FaultError


def administer(endpoint: Endpoint, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Answer /faults and /chain (GET, POST), /stats and /stats/blocks (GET, DELETE) and /health."""
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
    if path == "/chain":
        return _chain(endpoint.chain, method, body)
    if path in ("/stats", "/stats/blocks") and method == "GET":
        return 200, endpoint.stats.as_json(endpoint.dice.hits, blocks=path.endswith("blocks"))
    if path == "/stats" and method == "DELETE":
        endpoint.stats.reset()
        endpoint.dice.hits.clear()
        return 200, {}
    if path == "/health":
        return 200, {"chain_id": endpoint.chain.chain_id, "head": endpoint.head()}
    return 404, {"error": f"no {method} {path[:40]}"}


def _chain(chain: Chain, method: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """`{"grow": blocks}` adds blocks, `{"reorg": {"depth": 3, "length": 2}}` forks."""
    try:
        wish = orjson.loads(body) if method == "POST" else {}
        if "reorg" in wish:
            chain.reorg(int(wish["reorg"]["depth"]), wish["reorg"].get("length"))
        if "grow" in wish:
            chain.grow(int(wish["grow"]))
    except (ChainError, KeyError, TypeError, ValueError, AttributeError) as error:
        return 400, {"error": str(error)}
    return 200, {"head": chain.head, "forks": chain.forks}
