"""The command line: `devchain serve`, `devchain recorded`, `devchain build`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from devchain.build import DEFAULT_CACHE, open_chain
from devchain.chain import Chain, Reorg, seeded_reorgs
from devchain.chainfile import ChainFile
from devchain.endpoint import Endpoint
from devchain.faults import FaultError, Faults
from devchain.params import PROFILES, ChainParams
from devchain.recorded import RecordedChain, RecordingError, read_lines
from devchain.server import Server
from devchain.store import Store

_PORT = click.IntRange(0, 65_535)
_CHAIN_OPTIONS = [
    click.option("--seed", default=1, show_default=True, help="The same seed, the same bytes."),
    click.option(
        "--profile",
        type=click.Choice(PROFILES),
        default="mixed",
        show_default=True,
        help="What the blocks hold (see above).",
    ),
    click.option(
        "--blocks",
        default=1000,
        show_default=True,
        type=click.IntRange(0),
        help="Number of the head; block 0 is an empty genesis.",
    ),
    click.option("--chain-id", default=43114, show_default=True, type=click.IntRange(1)),
    click.option("--ethereum", is_flag=True, help="Plain Ethereum headers, not the Avalanche C-Chain's."),
    click.option("--huge", metavar="HEIGHT[:BYTES]", help="Make one block very large: 6.5 MB of JSON, or BYTES."),
    click.option(
        "--cache",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_CACHE,
        show_default=True,
        help="Where built chains are kept.",
    ),
    click.option("--jobs", type=click.IntRange(1), help="Processes that build.  [default: one per core]"),
]
_GROWTH_OPTIONS = [
    click.option("--head", "first_head", type=click.IntRange(0), help="Number of the first head.  [default: BLOCKS]"),
    click.option("--block-time", type=click.FloatRange(0, min_open=True), help="Seconds between two new heads."),
    click.option(
        "--reorg",
        "reorgs",
        multiple=True,
        metavar="HEIGHT:DEPTH[:LENGTH]",
        help="At that head, the highest DEPTH blocks give way to LENGTH others (one more by default).",
    ),
    click.option("--reorg-every", type=click.IntRange(1), help="Fork by chance (of the seed), every so many blocks."),
    click.option(
        "--reorg-depth", type=click.IntRange(1), default=5, show_default=True, help="How deep forks by chance go."
    ),
    click.option("--ws-port", type=_PORT, help="Serve eth_subscribe over WebSocket there; 0 takes a free port."),
]
_SERVE_OPTIONS = [
    click.option("--host", default="127.0.0.1", show_default=True),
    click.option("--port", type=_PORT, default=8545, show_default=True, help="0 takes a free one."),
    click.option("--twin-port", type=_PORT, help="A second endpoint of the chain, with faults of its own."),
    click.option("--twin-lag", default=3, show_default=True, help="How many blocks the twin is behind."),
    click.option("--latency-ms", type=float, help="Wait before every answer."),
    click.option("--no-receipts-method", is_flag=True, help="Without eth_getBlockReceipts."),
    click.option(
        "--fault",
        "faults",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any fault: p_429=0.1, head=10000000, 'null_blocks={\"5\":2}' (see devchain/README.md).",
    ),
    click.option("--until-stdin-closes", is_flag=True, help="Stop when standard input ends."),
]


def _with(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """A JSON-RPC node for development and tests: a chain from a seed or from recorded blocks, with faults on request.

    \b
    devchain serve --profile bench --blocks 10000     a chain of 10,000 blocks on http://127.0.0.1:8545
    devchain serve --fault p_429=0.05 --latency-ms 20  one that misbehaves
    devchain recorded blocks.jsonl.gz --chain-id 1    real blocks, as a node answered them

    \b
    While it runs (from this machine only):
    curl -d '{"next_5xx": 3}' localhost:8545/faults     the next three requests fail
    curl -d '{"reset": true}' localhost:8545/faults     no faults
    curl localhost:8545/stats                           what was asked for; /stats/blocks: block by block
    """


@main.command()
@_with(_CHAIN_OPTIONS)
@_with(_GROWTH_OPTIONS)
@_with(_SERVE_OPTIONS)
def serve(**options: Any) -> None:
    """Serve a simulated chain; it is built first unless the cache has it.

    \b
    Profiles:
      mixed   everything: transfers, tokens, swaps, failures, creations, odd logs, empty blocks, one block
              of 500 transactions in 500 blocks, the header forms of three Avalanche upgrades
      bench   every block 40 transactions and 65 logs, 118 kB of JSON
      small   every block three transactions and two logs
      empty   no transactions
    """
    faults = _faults(options)
    script = _script(options)
    trunk = _chain(options)

    def fork(branch: Store, height: int, salt: int) -> Store:
        assert isinstance(branch, ChainFile)
        return open_chain(branch.params.forked(height, salt), options["cache"], jobs=1)

    trunk.params = replace(trunk.params, blocks=trunk.head)  # the cache's chain may be longer
    _run(Chain(trunk, head=options["first_head"], open_fork=fork, script=script), faults, options)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--chain-id", type=int, help="Which chain, where the files hold several.")
@_with(_SERVE_OPTIONS)
def recorded(files: tuple[Path, ...], chain_id: int | None, **options: Any) -> None:
    """Serve recorded blocks: JSON lines with chain_id, block and receipts, gzipped or not."""
    faults = _faults(options)
    try:
        store = RecordedChain(read_lines(files), chain_id)
    except RecordingError as error:
        raise click.ClickException(str(error)) from error
    _run(Chain(store), faults, options)


@main.command()
@_with(_CHAIN_OPTIONS)
def build(**options: Any) -> None:
    """Build a simulated chain into the cache without serving it."""
    started = time.monotonic()
    chain = _chain(options)
    click.echo(
        f"chain {chain.chain_id}, blocks 0 to {chain.head}, head 0x{chain.block_hash(chain.head).hex()}: "
        f"{time.monotonic() - started:.1f} s"
    )


def _chain(options: dict[str, Any]) -> ChainFile:
    height, _, size = (options["huge"] or "").partition(":")
    values = {name: options[name] for name in ("seed", "profile", "blocks", "chain_id", "ethereum")}
    try:
        if height:
            values["huge_at"] = int(height)
        if size:
            values["huge_bytes"] = int(size)
    except ValueError:
        raise click.UsageError("--huge takes HEIGHT or HEIGHT:BYTES") from None
    params = ChainParams(**values)
    try:
        return open_chain(params, options["cache"], jobs=options["jobs"], progress=_Progress())
    except OSError as error:
        raise click.ClickException(f"cannot build into {options['cache']}: {error.strerror}") from error


class _Progress:
    """A line on standard error that says how far the building is: rewritten in place on a terminal."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._rewrite = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < (0.2 if self._rewrite else 5) and done < total:
            return
        self._last = now
        start, end = ("\r", "\n" if done == total else "") if self._rewrite else ("", "\n")
        click.echo(f"{start}devchain: {done:,} of {total:,} blocks built{end}", err=True, nl=False)


def _script(options: dict[str, Any]) -> list[Reorg]:
    """The forks to come: those that were named, then those by chance."""
    try:
        named = [[int(part) for part in text.split(":")] for text in options["reorgs"]]
        script = [Reorg(at, depth, *length or [depth + 1]) for at, depth, *length in named]
    except (TypeError, ValueError):
        raise click.UsageError("--reorg takes HEIGHT:DEPTH or HEIGHT:DEPTH:LENGTH") from None
    if options["reorg_every"]:
        first, last = options["first_head"] or 1, options["blocks"] - options["reorg_depth"] - 2
        script += seeded_reorgs(options["seed"], first, last, options["reorg_every"], options["reorg_depth"])
    return script


async def _grow_until(stop: asyncio.Event, chain: Chain, block_time: float | None) -> None:
    """Add a block every `block_time` seconds, by the clock and not by when the last one was added."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while not stop.is_set():
        due += block_time or 3600.0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(0.0, due - loop.time()))
        if block_time is not None:
            chain.grow()


def _faults(options: dict[str, Any]) -> Faults:
    changes: dict[str, Any] = {}
    for text in options["faults"]:
        name, _, value = text.partition("=")
        try:
            changes[name] = json.loads(value)
        except ValueError:
            changes[name] = value
    if options["latency_ms"] is not None:
        changes["latency_ms"] = options["latency_ms"]
    if options["no_receipts_method"]:
        changes["receipts_method"] = False
    faults = Faults()
    try:
        faults.update(changes)
    except FaultError as error:
        raise click.UsageError(str(error)) from error
    return faults


def _run(chain: Chain, faults: Faults, options: dict[str, Any]) -> None:
    try:
        asyncio.run(_serve(chain, faults, options))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {options['host']}: {error.strerror}") from error


async def _serve(chain: Chain, faults: Faults, options: dict[str, Any]) -> None:
    """Listen until told to stop; the line on standard output says that requests are welcome."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for kind in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(kind, stop.set)
    servers = [Server(Endpoint(chain, faults), options["host"], options["port"])]
    if options["twin_port"] is not None:
        twin = Endpoint(chain, Faults(lag=options["twin_lag"]))
        servers.append(Server(twin, options["host"], options["twin_port"]))
    if options["until_stdin_closes"]:
        loop.add_reader(0, lambda: None if os.read(0, 1024) else stop.set())
    urls = [f"http://{options['host']}:{server.port}" for server in servers]
    sockets = None
    if options.get("ws_port") is not None:
        from devchain.websocket import Subscriptions

        sockets = Subscriptions(servers[0].endpoint)
        urls.append(f"ws://{options['host']}:{await sockets.start(options['host'], options['ws_port'])}")
    click.echo(f"devchain: chain {chain.chain_id}, head {chain.head}, at {' and '.join(urls)}")
    sys.stdout.flush()
    await _grow_until(stop, chain, options.get("block_time"))
    if sockets is not None:
        await sockets.close()
    for server in servers:
        server.close()


if __name__ == "__main__":
    main()
