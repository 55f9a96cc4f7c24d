"""Building a simulated chain once and finding it in the cache afterwards.

The plan and the seal go block after block, here; the bodies between them, nine tenths of the work, are built by
processes. Memory stays bounded: only a few chunks are ever under way.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from devchain.body import BodyBuilder, OpenBlock, seal
from devchain.chainfile import ChainFile, ChainWriter
from devchain.header import GENESIS_PARENT
from devchain.params import ChainParams
from devchain.plan import BlockPlan, Planner

Progress = Callable[[int, int], None]  # blocks done, blocks in all
DEFAULT_CACHE = Path(".local/devchain")
_CHUNK = 20  # blocks a process builds at a time
_TRANSACTIONS_WORTH_A_POOL = 8_000  # starting processes costs as much as building so many

_BUILDING = ".building-"

_builder: BodyBuilder | None = None


def _prepare_worker(params: ChainParams) -> None:
    global _builder
    _builder = BodyBuilder(params)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's process waits for work for ever once its parent was killed; this one does not."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _build_chunk(plans: list[BlockPlan]) -> list[OpenBlock]:
    assert _builder is not None
    return [_builder.build(plan) for plan in plans]


def open_chain(
    params: ChainParams, cache: Path = DEFAULT_CACHE, *, jobs: int | None = None, progress: Progress | None = None
) -> ChainFile:
    """The chain of these parameters: from the cache (a longer one will do), or built into it."""
    found = _find(params, cache)
    return ChainFile(found or _build_into(params, cache, jobs, progress), head=params.blocks)


def _find(params: ChainParams, cache: Path) -> Path | None:
    for path in sorted(cache.glob("*/chain.json")):
        try:
            stored = ChainParams(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue  # removed meanwhile, or written by another version
        same = path.parent.name == stored.folder() and stored.identity() == params.identity()
        if same and stored.blocks >= params.blocks:
            return path.parent
    return None


def _build_into(params: ChainParams, cache: Path, jobs: int | None, progress: Progress | None) -> Path:
    """Build beside the cache's entries and move into place when whole; who comes second waits and finds it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f".{params.folder()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _find(params, cache)
        if found is None:
            _remove_abandoned(cache)
            found = cache / params.folder()
            with tempfile.TemporaryDirectory(dir=cache, prefix=f"{_BUILDING}{os.getpid()}-") as temporary:
                folder = Path(temporary) / "chain"
                folder.mkdir()
                with ChainWriter(folder, params) as writer:
                    _write(params, writer, jobs or os.cpu_count() or 1, progress)
                folder.rename(found)
        return found


def _remove_abandoned(cache: Path) -> None:
    """Remove what builders left that were killed: folders named by a process that is gone."""
    for folder in cache.glob(f"{_BUILDING}*"):
        pid = folder.name.removeprefix(_BUILDING).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _write(params: ChainParams, writer: ChainWriter, jobs: int, progress: Progress | None) -> None:
    parent_hash = GENESIS_PARENT
    plans = _noting_balances(Planner(params).blocks(), writer)
    for block in _bodies(params, plans, jobs):
        block_hash, block_json, receipts_json = seal(block, parent_hash)
        writer.append(block_hash, block_json, receipts_json, block.transaction_hashes, block.number)
        parent_hash = block_hash
        if progress and (block.number % 100 == 0 or block.number == params.blocks):
            progress(block.number, params.blocks)
    writer.finish()


def _noting_balances(plans: Iterable[BlockPlan], writer: ChainWriter) -> Iterator[BlockPlan]:
    """Keep the balances here: the processes that build bodies have no use for them."""
    for plan in plans:
        writer.add_balances(plan.number, plan.balances)
        yield BlockPlan(plan.number, plan.transactions, {})


def _bodies(params: ChainParams, plans: Iterator[BlockPlan], jobs: int) -> Iterator[OpenBlock]:
    """The open blocks of all plans, in order."""
    at_once = {"bench": 40, "mixed": 10, "small": 3, "empty": 1}[params.profile] * params.blocks
    if jobs < 2 or at_once < _TRANSACTIONS_WORTH_A_POOL:
        yield from map(BodyBuilder(params).build, plans)
        return
    # spawn: a forked child would inherit the caller's sockets and threads' locks
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _prepare_worker, (params,)) as pool:
        under_way: deque[Future[list[OpenBlock]]] = deque()
        while chunk := list(islice(plans, _CHUNK)):
            under_way.append(pool.submit(_build_chunk, chunk))
            if len(under_way) > 3 * jobs:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()
