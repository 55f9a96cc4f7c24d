"""The pool of endpoints: what the services call, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from indexer.errors import IndexerError, NotYetError, OutageError, TransientError
from indexer.records import BlockRef
from indexer.rpc.answers import Call, Failure
from indexer.rpc.attempt import Attempts, FetchResult, Item, Member
from indexer.rpc.calls import Calls
from indexer.rpc.choose import Chooser
from indexer.rpc.endpoint import Clocks, Endpoint
from indexer.rpc.fetch import Fetched, Round, Wanted
from indexer.rpc.heights import HeadView, Heights, quantity, ref_of
from indexer.rpc.lean import transport_for
from indexer.rpc.raw import Split
from indexer.rpc.receipts import ReceiptSource
from indexer.rpc.redact import labels
from indexer.rpc.settings import RpcSettings
from indexer.rpc.slots import Rank
from indexer.rpc.stats import PoolStats
from indexer.rpc.transport import Transport

_NONE: AbstractSet[str] = frozenset()


class RpcPool:
    """Fetches blocks from several endpoints of one chain; lives on one event loop.

    With `split`, blocks come as the bytes that a node sent, where it can cut them out of its answer.
    Nothing but programming errors escapes `fetch_blocks`: every wanted number gets exactly one result.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        settings: RpcSettings,
        clocks: Clocks | None = None,
        transport: Callable[[str, RpcSettings], Transport] = transport_for,
        split: Split | None = None,
    ) -> None:
        if not urls:
            raise ValueError("a pool needs at least one URL")
        self._settings = settings
        self._clocks = clocks or Clocks()
        self._split = split
        self.members = [
            self._member(name, transport(url, settings)) for name, url in zip(labels(urls), urls, strict=True)
        ]
        self._chooser = Chooser(self.members, settings, self._clocks)
        self._calls = Calls(self._chooser, settings, self._clocks)
        self._bytes_per_block = 0.0
        self._seconds_per_block = 0.0
        self._stats = PoolStats()
        self._under_way = 0
        self._busy_since = 0.0

    def _member(self, name: str, transport: Transport) -> Member:
        endpoint = Endpoint(name, transport, self._settings, self._clocks, self._split)
        heights = Heights(endpoint, self._settings, self._clocks)
        return Member(endpoint, ReceiptSource(endpoint, self._clocks), heights)

    # -- blocks -------------------------------------------------------------------------------------------------

    async def fetch_blocks(
        self, wanted: Sequence[Wanted], *, exclude: AbstractSet[str] = _NONE, urgent: bool = False
    ) -> list[FetchResult]:
        """Return a `Fetched` or an error for each of `wanted`, in order; `exclude` names endpoints not to ask.

        NotYetError: not there yet. TransientError: try again later, counts as an attempt. OutageError: no endpoint
        answers, count nothing. PoisonError: larger than `max_block_bytes`. FatalError: nodes of another chain only.
        """
        items = [Item(one) for one in wanted]
        attempts = Attempts(
            self._settings,
            self._clocks,
            partial(self._chooser.choose, exclude=exclude),
            partial(self._chooser.higher, exclude=exclude),
            self._took,
            urgent,
        )
        size = self.suggested_batch()
        self._begin()
        try:
            groups = [items[at : at + size] for at in range(0, len(items), size)]
            await asyncio.gather(*(self._guarded(attempts, group) for group in groups))
        finally:
            self._end(items)
        return [_settled(item) for item in items]

    async def _guarded(self, attempts: Attempts, items: list[Item]) -> None:
        """An error nobody thought of must not take the neighbours along: it becomes these items' result."""
        try:
            await attempts.settle(items)
        except Exception as error:
            for item in items:
                if item.result is None:
                    text = f"block {item.wanted.number}: internal error {type(error).__name__}"
                    item.result = TransientError(text, code="RPC_INTERNAL")
                    item.result.__cause__ = error

    def suggested_batch(self) -> int:
        """Return how many blocks make a good batch now: by bytes and seconds per block, within the settings."""
        best = min(self._settings.batch_size, max(m.endpoint.batch_limit.size for m in self.members))
        if self._bytes_per_block:
            best = min(best, int(self._settings.target_batch_bytes / self._bytes_per_block))
        if self._seconds_per_block:
            best = min(best, int(self._settings.target_batch_seconds / self._seconds_per_block))
        return max(1, best)

    @property
    def bytes_per_block(self) -> int:
        """About how many bytes of JSON a block has lately; 0 before the first."""
        return int(self._bytes_per_block)

    def _took(self, answer: Round) -> None:
        sizes = [outcome.size for outcome in answer.outcomes if isinstance(outcome, Fetched)]
        self._stats.retries += len(answer.outcomes) - len(sizes)
        if not sizes:
            return
        mean = sum(sizes) / len(sizes)
        # Grows at once and shrinks slowly: too small a batch costs little, too large a one costs memory.
        self._bytes_per_block = max(mean, 0.9 * self._bytes_per_block + 0.1 * mean)
        each = answer.seconds / len(sizes)
        self._seconds_per_block = 0.8 * self._seconds_per_block + 0.2 * each if self._seconds_per_block else each

    # -- everything but blocks ----------------------------------------------------------------------------------

    async def call(self, method: str, params: Sequence[Any] = (), *, urgent: bool = False) -> Any:
        """Return the result of one call; raises what `batch` would have returned in its place."""
        result = (await self.batch([Call(method, params)], urgent=urgent))[0]
        if isinstance(result, IndexerError):
            raise result
        return result

    async def batch(self, calls: Sequence[Call], *, urgent: bool = False) -> list[Any]:
        """Return a result or an error per call, in order; what failed for the endpoint's sake is asked elsewhere."""
        return await self._calls.batch(calls, urgent=urgent)

    async def head(self, *, max_age: float = 0.0) -> int:
        """Return the highest head of the endpoints that answer; OutageError when none does."""
        await self._refresh(max_age)
        return max(m.heights.head for m in self.members if m.heights.head is not None)

    async def finalized(self, *, max_age: float = 0.0) -> int:
        """Return the highest finalized height of the endpoints that answer; OutageError when none does."""
        await self._refresh(max_age)
        return max(m.heights.finalized for m in self.members if m.heights.finalized is not None)

    async def highest(self) -> HeadView:
        """Return how far the endpoint with the highest head is, the first of them that RPC_URLS names; OutageError."""
        await self._refresh(0.0)
        now = self._clocks.monotonic()
        ready = [
            (m, m.heights.head) for m in self.members if m.heights.head is not None and m.endpoint.ready_at(now) <= now
        ]
        if not ready:
            raise OutageError("no endpoint tells its head", code="RPC_OUTAGE")
        member, head = max(ready, key=lambda each: each[1])
        return HeadView(member.name, head, member.heights.finalized or 0)

    async def headers(self, endpoint: str, numbers: Sequence[int]) -> dict[int, BlockRef | None]:
        """Return what that endpoint has at these heights, None where nothing; TransientError when it fails."""
        member = next(m for m in self.members if m.name == endpoint)
        calls = [Call("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
        answers = (await member.endpoint.batch(calls, rank=Rank.URGENT)).answers
        return {number: ref_of(number, answer) for number, answer in zip(numbers, answers, strict=True)}

    async def _refresh(self, max_age: float) -> None:
        now = self._clocks.monotonic()
        asked = [m for m in self.members if m.endpoint.ready_at(now) <= now]
        failures = await asyncio.gather(*(member.heights.refresh(max_age=max_age) for member in asked))
        if not asked or all(failures):
            reasons = ", ".join(f"{m.name}: {f.message}" for m, f in zip(asked, failures, strict=True) if f)
            raise OutageError(f"no endpoint tells its head ({reasons or 'all are left alone'})", code="RPC_OUTAGE")

    async def chain_id(self) -> int:
        """Return the chain id of the first endpoint that answers."""
        result = quantity(await self.call("eth_chainId", urgent=True))
        if isinstance(result, Failure):
            raise TransientError(result.message, code=result.code)
        return result

    async def check_chain(self, expected: int) -> None:
        """Raise FatalError `WRONG_CHAIN` if an endpoint serves another chain; OutageError if none answers."""
        await self._chooser.check_chain(expected)

    def set_share(self, share: float) -> None:
        """Set the part of each URL's `max_rps` that this process may use, 0..1; takes effect at once."""
        for member in self.members:
            member.endpoint.set_share(share)

    # -- counting, ending ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._under_way == 0:
            self._busy_since = time.perf_counter()
        self._under_way += 1

    def _end(self, items: Sequence[Item]) -> None:
        self._under_way -= 1
        if self._under_way == 0:
            self._stats.busy_seconds += time.perf_counter() - self._busy_since
        for item in items:
            if isinstance(item.result, Fetched):
                self._stats.blocks += 1
                self._stats.bytes += item.result.size
            elif isinstance(item.result, NotYetError):
                self._stats.not_yet += 1
            else:
                self._stats.blocks_failed += 1

    def snapshot(self) -> PoolStats:
        """Return a copy of all counters."""
        stats = self._stats
        busy = stats.busy_seconds + (time.perf_counter() - self._busy_since if self._under_way else 0.0)
        endpoints = [member.endpoint.snapshot() for member in self.members]
        waited = sum(m.seconds for e in endpoints for m in e.methods.values())
        return PoolStats(
            stats.blocks, stats.blocks_failed, stats.not_yet, stats.bytes, stats.retries, waited, busy, endpoints
        )

    async def close(self) -> None:
        await asyncio.gather(*(member.endpoint.close() for member in self.members))


def _settled(item: Item) -> FetchResult:
    if item.result is None:
        return TransientError(f"block {item.wanted.number}: no result", code="RPC_INTERNAL")
    return item.result
