"""CPU and throughput of fetching blocks from devchain, per transport, alone and beside a busy main thread.

python -m benchmarks.rpc_fetch --blocks 2000
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
import urllib.request
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from devchain.client import Devchain
from indexer.rpc.aio import AiohttpTransport
from indexer.rpc.facade import BlockFetcher
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.lean import LeanTransport
from indexer.rpc.pool import RpcPool
from indexer.rpc.settings import RpcSettings

TRANSPORTS: dict[str, Any] = {"aiohttp": AiohttpTransport, "lean": LeanTransport}


def burn(milliseconds: float) -> None:
    """Keep the interpreter busy with plain Python, as verification does."""
    until = time.thread_time() + milliseconds / 1000
    while time.thread_time() < until:
        for _ in range(200):
            pass


def fetch_all(fetcher: BlockFetcher, blocks: int, batch: int, work: Callable[[], None] | None) -> tuple[int, int]:
    """Fetch blocks 1..`blocks` with `work` done for each; return blocks and bytes."""
    following, got, size = 1, 0, 0
    while got < blocks:
        while following <= blocks and fetcher.room() > 0:
            wanted = [Wanted(number) for number in range(following, min(blocks + 1, following + batch))]
            if not fetcher.submit(following, wanted):
                break
            following += batch
        for _, results in fetcher.completed(0.05):
            while results:
                result = results.pop()
                assert isinstance(result, Fetched), result
                got += 1
                size += result.size
                del result
                if work is not None:
                    work()
    return got, size


def parse_only(url: str, arguments: argparse.Namespace) -> float:
    """Return the CPU milliseconds that orjson alone takes for a block, other blocks being kept meanwhile."""
    bodies = []
    for start in range(1, 301, arguments.batch):
        calls = [
            {"jsonrpc": "2.0", "id": n, "method": "eth_getBlockByNumber", "params": [hex(n), True]}
            for n in range(start, start + arguments.batch)
        ]
        blocks = _post(url, calls)
        calls = [
            {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockReceipts", "params": [item["result"]["hash"]]}
            for item in orjson.loads(blocks)
        ]
        bodies += [blocks, _post(url, calls)]
    kept: deque[object] = deque(maxlen=2 * arguments.ahead // arguments.batch)
    gc.freeze()
    gc.disable()
    began = time.thread_time()
    for body in bodies:
        kept.append(orjson.loads(body))
    spent = time.thread_time() - began
    gc.enable()
    gc.unfreeze()
    return float(spent / (len(bodies) / 2 * arguments.batch) * 1000)


def _post(url: str, calls: list[dict[str, object]]) -> bytes:
    request = urllib.request.Request(url, orjson.dumps(calls), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def measure(
    url: str,
    name: str,
    arguments: argparse.Namespace,
    busy_ms: float,
    interval: float | None,
    collect: int | None = 50_000,
) -> None:
    settings = RpcSettings(batch_size=arguments.batch, switch_interval_seconds=interval, gc_threshold=collect)
    pool = lambda: RpcPool([url], settings=settings, transport=TRANSPORTS[name])  # noqa: E731 - one use
    with BlockFetcher([url], settings, pool=pool, max_blocks=arguments.ahead) as fetcher:
        fetch_all(fetcher, 100, arguments.batch, None)
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        own = time.thread_time()
        work = (lambda: burn(busy_ms)) if busy_ms else None
        got, size = fetch_all(fetcher, arguments.blocks, arguments.batch, work)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        own = time.thread_time() - own
    shown = "as it is" if interval is None else f"{interval * 1000:g} ms"
    print(
        f"{name:8} main {busy_ms:3.1f} ms/block, switch {shown:9}: {got / wall:6.0f} blocks/s,"
        f" fetch thread {(cpu - own) / got * 1000:.3f} ms CPU/block of {size / got / 1000:.0f} kB,"
        f" main thread {own / wall * 100:3.0f} % busy,"
        f" peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--ahead", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with Devchain.simulated(profile="bench", blocks=arguments.blocks) as node:
        print(f"orjson alone: {parse_only(node.url, arguments):.3f} ms CPU/block")
        for _ in range(arguments.rounds):
            for name in TRANSPORTS:
                measure(node.url, name, arguments, 0.0, None)
        print("with the garbage collector as it is by default:")
        measure(node.url, "lean", arguments, 0.0, None, None)
        for interval in (None, 0.001, 0.0005):
            for name in TRANSPORTS:
                measure(node.url, name, arguments, 2.0, interval)


if __name__ == "__main__":
    main()
