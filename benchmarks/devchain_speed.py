"""How fast devchain serves the bench chain, and what it costs it: `python -m benchmarks.devchain_speed`.

Reads every block with its receipts once, in batches, over a few connections, and does nothing with the bytes: what
is measured is the node. The indexer shares the machine's cores with it, so the processor time per block counts most.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import click

from devchain.client import Devchain


def requests(blocks: int, batch: int) -> list[bytes]:
    """HTTP requests for the blocks 1 to `blocks` with their receipts, `batch` blocks in each."""
    made = []
    for first in range(1, blocks + 1, batch):
        calls: list[dict[str, object]] = []
        for number in range(first, min(first + batch, blocks + 1)):
            for method, more in (("eth_getBlockByNumber", [True]), ("eth_getBlockReceipts", [])):
                params = [hex(number), *more]
                calls.append({"jsonrpc": "2.0", "id": len(calls), "method": method, "params": params})
        body = json.dumps(calls).encode()
        made.append(b"POST / HTTP/1.1\r\nHost: devchain\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    return made


def read_all(url: str, todo: list[bytes], tickets: count[int], received: list[int]) -> None:
    """Send requests over one connection until none is left."""
    place = urlsplit(url)
    buffer = bytearray(1 << 20)
    with socket.create_connection((place.hostname or "", place.port or 0)) as connection:
        while (ticket := next(tickets)) < len(todo):
            connection.sendall(todo[ticket])
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            start, _, rest = head.partition(b"\r\n\r\n")
            assert start.startswith(b"HTTP/1.1 200"), start
            size = int(start.lower().split(b"content-length:")[1].split()[0])
            left = size - len(rest)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            received.append(size)


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_resident(pid: int) -> float:
    """The peak resident memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


@click.command()
@click.option("--blocks", default=10_000, show_default=True)
@click.option("--batch", default=10, show_default=True, help="Blocks in one request (two calls each).")
@click.option("--connections", default=2, show_default=True)
@click.option("--profile", default="bench", show_default=True)
@click.option("--cache", default=".local/devchain", show_default=True)
@click.option("--bar", default=0.0, show_default=True, help="Fail below so many blocks a second.")
def main(blocks: int, batch: int, connections: int, profile: str, cache: str, bar: float) -> None:
    """Serve a chain once and report blocks a second and the node's processor time."""
    started = time.perf_counter()
    with Devchain.simulated(profile=profile, blocks=blocks, cache=cache) as node:
        print(f"ready after       {time.perf_counter() - started:8.1f} s (built, unless the cache had it)")
        todo, received = requests(blocks, batch), list[int]()
        before, started, tickets = processor_seconds(node.pid), time.perf_counter(), count()
        readers = [
            threading.Thread(target=read_all, args=(node.url, todo, tickets, received)) for _ in range(connections)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        seconds, used = time.perf_counter() - started, processor_seconds(node.pid) - before
        assert len(received) == len(todo)
        served = node.stats()["blocks_served"]
        print(f"blocks            {served['eth_getBlockByNumber']:8,} with receipts, in batches of {batch}")
        print(f"bytes             {sum(received) / 1e6:8,.0f} MB, {sum(received) / blocks / 1e3:.1f} kB a block")
        print(f"rate              {blocks / seconds:8,.0f} blocks/s")
        print(f"node's processor  {used / blocks * 1e3:8.3f} ms a block ({used / seconds:.0%} of a core)")
        print(f"node's memory     {peak_resident(node.pid):8.1f} MiB at its peak")
        if blocks / seconds < bar:
            raise click.ClickException(f"missed: {blocks / seconds:,.0f} blocks/s, the bar is {bar:,.0f}")


if __name__ == "__main__":
    main()
