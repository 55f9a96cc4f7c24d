"""The pool for plain threads: its event loop runs on a thread of its own, results come through a queue."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

from indexer.errors import TransientError
from indexer.records import BlockRef
from indexer.rpc.answers import Call
from indexer.rpc.attempt import FetchResult
from indexer.rpc.fetch import Fetched, Wanted
from indexer.rpc.heights import HeadView
from indexer.rpc.interpreter import tune
from indexer.rpc.pool import RpcPool
from indexer.rpc.raw import Split
from indexer.rpc.settings import MIB, RpcSettings
from indexer.rpc.stats import PoolStats

Result = TypeVar("Result")
PoolFactory = Callable[[], RpcPool]


class RpcClient:
    """A pool on its own thread, with the calls that producer and commands make, each waiting for its answer."""

    def __init__(
        self, urls: Sequence[str], settings: RpcSettings | None = None, *, pool: PoolFactory | None = None
    ) -> None:
        self.settings = settings or RpcSettings()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rpc", daemon=True)
        self._thread.start()
        self._closed = False
        make = pool or (lambda: RpcPool(urls, settings=self.settings))
        try:
            self._pool = self._run(_made(make))
        except BaseException:
            self._stop_loop()
            raise

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(self, method: str, params: Sequence[Any] = (), *, urgent: bool = False) -> Any:
        return self._run(self._pool.call(method, params, urgent=urgent))

    def batch(self, calls: Sequence[Call], *, urgent: bool = False) -> list[Any]:
        return self._run(self._pool.batch(calls, urgent=urgent))

    def fetch_blocks(
        self, wanted: Sequence[Wanted], *, exclude: AbstractSet[str] = frozenset(), urgent: bool = False
    ) -> list[FetchResult]:
        return self._run(self._pool.fetch_blocks(wanted, exclude=exclude, urgent=urgent))

    def head(self, *, max_age: float = 0.0) -> int:
        return self._run(self._pool.head(max_age=max_age))

    def finalized(self, *, max_age: float = 0.0) -> int:
        return self._run(self._pool.finalized(max_age=max_age))

    def highest(self) -> HeadView:
        return self._run(self._pool.highest())

    def headers(self, endpoint: str, numbers: Sequence[int]) -> dict[int, BlockRef | None]:
        return self._run(self._pool.headers(endpoint, numbers))

    def chain_id(self) -> int:
        return self._run(self._pool.chain_id())

    def check_chain(self, expected: int) -> None:
        self._run(self._pool.check_chain(expected))

    def set_share(self, share: float) -> None:
        self._loop.call_soon_threadsafe(self._pool.set_share, share)

    def suggested_batch(self) -> int:
        return self._pool.suggested_batch()

    def snapshot(self) -> PoolStats:
        return self._run(_made(self._pool.snapshot))

    def close(self) -> None:
        """Stop whatever is under way and the thread; closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._run(self._shut_down())
        self._stop_loop()

    async def _shut_down(self) -> None:
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.close()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _made(make: Callable[[], Result]) -> Result:
    return make()


@dataclass(frozen=True, slots=True)
class InFlight:
    """What was submitted and not yet handed out; `bytes` is known for what arrived, estimated for the rest."""

    requests: int = 0
    blocks: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Done:
    key: Hashable
    results: list[FetchResult]
    bytes: int


class BlockFetcher(RpcClient):
    """Fetches blocks in the background, within bounds: submit, go on with other work, collect.

    All methods may be called from one thread, or from several. With `split`, blocks come unread where they can.
    """

    def __init__(
        self,
        urls: Sequence[str],
        settings: RpcSettings | None = None,
        *,
        max_blocks: int = 300,
        max_bytes: int = 32 * MIB,
        pool: PoolFactory | None = None,
        split: Split | None = None,
    ) -> None:
        unread = partial(RpcPool, urls, settings=settings or RpcSettings(), split=split)
        super().__init__(urls, settings, pool=pool or unread)
        self._turn_back = tune(self.settings)
        self._max_blocks = max_blocks
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._blocks = 0
        self._blocks_arriving = 0
        self._bytes_arrived = 0

    @property
    def in_flight(self) -> InFlight:
        with self._lock:
            estimate = self._blocks_arriving * self._pool.bytes_per_block
            return InFlight(self._requests, self._blocks, self._bytes_arrived + estimate)

    def room(self) -> int:
        """Return how many blocks may be submitted now; 0 while the bounds are reached."""
        now = self.in_flight
        left = self._max_blocks - now.blocks
        each = self._pool.bytes_per_block
        if each:
            left = min(left, (self._max_bytes - now.bytes) // each)
        if now.blocks == 0:
            return max(1, left)  # a block larger than the bound still has to pass
        return max(0, left)

    def submit(
        self,
        key: Hashable,
        wanted: Sequence[Wanted],
        *,
        exclude: AbstractSet[str] = frozenset(),
        urgent: bool = False,
    ) -> bool:
        """Begin to fetch `wanted`; False, and nothing is begun, while the bounds are reached.

        A submission is taken whole while there is any room: the bounds may be passed by one of them.
        """
        if self._closed or self.room() == 0:
            return False
        with self._lock:
            self._requests += 1
            self._blocks += len(wanted)
            self._blocks_arriving += len(wanted)
        self._loop.call_soon_threadsafe(self._start, key, wanted, exclude, urgent)
        return True

    def _start(self, key: Hashable, wanted: Sequence[Wanted], exclude: AbstractSet[str], urgent: bool) -> None:
        task = self._loop.create_task(self._fetch(key, wanted, exclude, urgent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch(self, key: Hashable, wanted: Sequence[Wanted], exclude: AbstractSet[str], urgent: bool) -> None:
        results: list[FetchResult]
        try:
            results = await self._pool.fetch_blocks(wanted, exclude=exclude, urgent=urgent)
        except Exception as error:
            results = [_internal(item, error) for item in wanted]
        size = sum(result.size for result in results if isinstance(result, Fetched))
        with self._lock:
            self._blocks_arriving -= len(wanted)
            self._bytes_arrived += size
        self._done.put(_Done(key, results, size))

    def close(self) -> None:
        if not self._closed:
            self._turn_back()
        super().close()

    def completed(self, timeout: float) -> list[tuple[Hashable, list[FetchResult]]]:
        """Return what has arrived, waiting up to `timeout` seconds for the first; empty when nothing came."""
        found: list[_Done] = []
        try:
            found.append(self._done.get(timeout=timeout) if timeout > 0 else self._done.get_nowait())
            while True:
                found.append(self._done.get_nowait())
        except queue.Empty:
            pass
        with self._lock:
            for done in found:
                self._requests -= 1
                self._blocks -= len(done.results)
                self._bytes_arrived -= done.bytes
        return [(done.key, done.results) for done in found]


def _internal(item: Wanted, error: Exception) -> TransientError:
    text = f"block {item.number}: internal error {type(error).__name__}"
    return TransientError(text, code="RPC_INTERNAL")
