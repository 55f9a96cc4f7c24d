"""The pool of endpoints: which one to ask, and what the services call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

from indexer.errors import FatalError, IndexerError, NotYetError, OutageError, TransientError
from indexer.rpc.answers import Answer, Call, Failure, Kind
from indexer.rpc.attempt import Attempts, FetchResult, Item, Member
from indexer.rpc.endpoint import Clocks, Endpoint
from indexer.rpc.fetch import Fetched, Round, Wanted
from indexer.rpc.heights import Heights, quantity
from indexer.rpc.lean import transport_for
from indexer.rpc.receipts import ReceiptSource
from indexer.rpc.redact import labels
from indexer.rpc.settings import RpcSettings
from indexer.rpc.stats import PoolStats
from indexer.rpc.transport import Transport

_NAP_SECONDS = 0.1
_EXPLORE = 0.05  # now and then another endpoint than the best is asked: how else would it show that it got better
_NONE: AbstractSet[str] = frozenset()
_ELSEWHERE = (Kind.CONNECTION, Kind.TIMEOUT, Kind.MALFORMED, Kind.RATE, Kind.REFUSED)


class RpcPool:
    """Fetches blocks from several endpoints of one chain; lives on one event loop.

    Nothing but programming errors escapes `fetch_blocks`: every wanted number gets exactly one result.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        settings: RpcSettings,
        clocks: Clocks | None = None,
        transport: Callable[[str, RpcSettings], Transport] = transport_for,
    ) -> None:
        if not urls:
            raise ValueError("a pool needs at least one URL")
        self._settings = settings
        self._clocks = clocks or Clocks()
        self.members = [
            self._member(name, transport(url, settings)) for name, url in zip(labels(urls), urls, strict=True)
        ]
        self._expected_chain: int | None = None
        self._bytes_per_block = 0.0
        self._seconds_per_block = 0.0
        self._stats = PoolStats()
        self._under_way = 0
        self._busy_since = 0.0

    def _member(self, name: str, transport: Transport) -> Member:
        endpoint = Endpoint(name, transport, self._settings, self._clocks)
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
            partial(self._choose, exclude=exclude),
            partial(self._higher, exclude=exclude),
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

    # -- choosing -----------------------------------------------------------------------------------------------

    async def _choose(self, items: Sequence[Item], *, exclude: AbstractSet[str]) -> Member | IndexerError:
        """Return the endpoint to ask next, waiting for one within the items' budget; or why there is none."""
        avoid = {blame.member.name for item in items for blame in item.blames[-1:]}
        while True:
            candidates = [member for member in self.members if member.name not in exclude]
            if not candidates:
                return TransientError("no other endpoint to ask", code="RPC_NO_OTHER_ENDPOINT")
            if all(member.endpoint.disabled for member in candidates):
                return _wrong_chain(candidates, self._expected_chain)
            now = self._clocks.monotonic()
            ready = [member for member in candidates if member.endpoint.ready_at(now) <= now]
            best = self._best([member for member in ready if member.name not in avoid] or ready, items)
            if best is not None:
                if await self._serves_our_chain(best):
                    return best
                continue
            for item in items:
                item.troubled_at = now if item.troubled_at is None else item.troubled_at
            error = self._patience(candidates, now, min(item.troubled_at or now for item in items))
            if error is not None:
                return error
            earliest = min(member.endpoint.ready_at(now) for member in candidates)
            await asyncio.sleep(max(0.01, min(_NAP_SECONDS, earliest - now)))

    def _best(self, ready: Sequence[Member], items: Sequence[Item]) -> Member | None:
        if len(ready) > 1:
            highest = max(item.wanted.number for item in items)
            far_enough = [m for m in ready if m.heights.head is None or m.heights.head >= highest]
            ready = far_enough or ready
            if self._clocks.chance.random() < _EXPLORE:
                return self._clocks.chance.choice(ready)
        return min(ready, key=lambda member: member.endpoint.cost(), default=None)

    def _patience(self, candidates: Sequence[Member], now: float, since: float) -> OutageError | None:
        """Return the outage to report when waiting for an endpoint is pointless or took long enough."""
        down = all(member.endpoint.is_down(now) for member in candidates)
        allowed = self._settings.outage_seconds if down else self._settings.budget_seconds
        allowed = min(allowed, self._settings.budget_seconds)
        earliest = min(member.endpoint.ready_at(now) for member in candidates)
        if max(now, earliest) < since + allowed:
            return None
        names = ", ".join(member.name for member in candidates)
        if down:
            return OutageError(f"no endpoint answers: {names}", code="RPC_OUTAGE")
        text = f"every endpoint asks for a pause ({earliest - now:.0f} s at least): {names}"
        return OutageError(text, code="RPC_RATE_LIMITED")

    async def _higher(self, than: Member, number: int, *, exclude: AbstractSet[str]) -> Member | None:
        """Return another endpoint that has block `number`, if any."""
        for member in self.members:
            now = self._clocks.monotonic()
            if member is than or member.name in exclude or member.endpoint.ready_at(now) > now:
                continue
            await member.heights.refresh(max_age=1.0)
            known = member.heights.head is not None and member.heights.head >= number
            if known and await self._serves_our_chain(member):
                return member
        return None

    # -- everything but blocks ----------------------------------------------------------------------------------

    async def call(self, method: str, params: Sequence[Any] = (), *, urgent: bool = False) -> Any:
        """Return the result of one call; raises what `batch` would have returned in its place."""
        result = (await self.batch([Call(method, params)], urgent=urgent))[0]
        if isinstance(result, IndexerError):
            raise result
        return result

    async def batch(self, calls: Sequence[Call], *, urgent: bool = False) -> list[Any]:
        """Return a result or an error per call, in order; what failed for the endpoint's sake is asked elsewhere."""
        results: list[Answer] = [None] * len(calls)
        todo = list(range(len(calls)))
        item = Item(Wanted(0))
        rounds = 0
        while todo:
            member = await self._choose([item], exclude=_NONE)
            if isinstance(member, IndexerError):
                error = member
                return [error if index in todo else results[index] for index in range(len(calls))]
            started = self._clocks.monotonic()
            item.troubled_at = item.troubled_at or started
            got = await member.endpoint.batch([calls[index] for index in todo], urgent=urgent)
            rounds += 1
            over = started - item.troubled_at >= self._settings.budget_seconds or rounds >= 2 * len(self.members) + 2
            again = []
            for index, answer in zip(todo, got.answers, strict=True):
                if isinstance(answer, Failure) and not over and _is_endpoints_fault(answer):
                    again.append(index)
                else:
                    results[index] = _as_error(answer, calls[index].method, member)
            if again:
                await asyncio.sleep(self._clocks.chance.uniform(0, self._settings.backoff_seconds * 2**rounds))
            todo = again
        return results

    async def head(self, *, max_age: float = 0.0) -> int:
        """Return the highest head of the endpoints that answer; OutageError when none does."""
        await self._refresh(max_age)
        return max(m.heights.head for m in self.members if m.heights.head is not None)

    async def finalized(self, *, max_age: float = 0.0) -> int:
        """Return the highest finalized height of the endpoints that answer; OutageError when none does."""
        await self._refresh(max_age)
        return max(m.heights.finalized for m in self.members if m.heights.finalized is not None)

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
        """Raise FatalError `WRONG_CHAIN` if an endpoint serves another chain; OutageError if none answers.

        An endpoint that does not answer now is checked before its first use.
        """
        self._expected_chain = expected
        failures = await asyncio.gather(*(member.heights.learn_chain() for member in self.members))
        wrong = [m for m in self.members if m.heights.chain_id not in (None, expected)]
        if wrong:
            raise _wrong_chain(wrong, expected)
        if all(failures):
            reasons = ", ".join(f"{m.name}: {f.message}" for m, f in zip(self.members, failures, strict=True) if f)
            raise OutageError(f"no endpoint answers ({reasons})", code="RPC_OUTAGE")

    async def _serves_our_chain(self, member: Member) -> bool:
        """Check an endpoint that was away when the chain was checked; one of another chain is never used."""
        if self._expected_chain is None or member.heights.chain_id == self._expected_chain:
            return True
        if await member.heights.learn_chain() is None and member.heights.chain_id != self._expected_chain:
            text = f"it serves chain {member.heights.chain_id}, not {self._expected_chain}"
            member.endpoint.disabled = Failure(Kind.REFUSED, "WRONG_CHAIN", text)
        return member.heights.chain_id == self._expected_chain

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


def _is_endpoints_fault(failure: Failure) -> bool:
    return failure.kind in _ELSEWHERE or failure.code.startswith("RPC_HTTP_")


def _as_error(answer: Answer, method: str, member: Member) -> Any:
    if not isinstance(answer, Failure):
        return answer
    text = f"{method}: {answer.message} ({member.name})"
    if answer.kind is Kind.NOT_YET:
        return NotYetError(text)
    if answer.kind in (Kind.CONNECTION, Kind.RATE, Kind.REFUSED):
        return OutageError(text, code=answer.code)
    return TransientError(text, code=answer.code)


def _wrong_chain(members: Sequence[Member], expected: int | None) -> FatalError:
    found = ", ".join(f"{member.name} serves chain {member.heights.chain_id}" for member in members)
    return FatalError(f"{found}; CHAIN_ID says {expected}", code="WRONG_CHAIN")
