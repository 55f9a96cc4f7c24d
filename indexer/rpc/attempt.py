"""The life of wanted blocks: asked for in a group, asked again elsewhere or in smaller groups, each with one result.

- a block arrives: done
- not there yet (null, "cannot query unfinalized data"), another hash, or not final without an expected hash (PROTOCOL
  5): asked once more where the head is higher, then NotYetError; below the finalized height TransientError, since
  waiting will not help
- refused for its rate: asked again when the pause is over, for as long as the budget lasts; never counted
- anything else: asked again elsewhere, or here after a jittered pause; a group that failed twice, or timed out, is
  split, so that one bad block never fails its neighbours
- the budget is used up: TransientError if an endpoint that failed it is alive otherwise, else OutageError
- every breaker open for a while: OutageError
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from indexer.errors import IndexerError, NotYetError, OutageError, PoisonError, TransientError
from indexer.rpc.answers import Call, Failure, Kind
from indexer.rpc.endpoint import Clocks, Endpoint
from indexer.rpc.fetch import Fetched, Round, Wanted, fetch_on
from indexer.rpc.heights import Heights
from indexer.rpc.receipts import ReceiptSource
from indexer.rpc.settings import RpcSettings
from indexer.rpc.slots import Rank

FetchResult = Fetched | IndexerError

_ABSENT = (Kind.NOT_YET, Kind.MISSING)
_FRESH_SECONDS = 1.0
_FAIR_ATTEMPTS = 4
_UNCOUNTED = ("RPC_CIRCUIT_OPEN",)
_NOT_FINAL = Failure(Kind.NOT_YET, "NOT_FINAL", "the block is not final yet, and no hash is expected")


@dataclass(frozen=True, slots=True)
class Member:
    """An endpoint of the pool with what is known of it."""

    endpoint: Endpoint
    receipts: ReceiptSource
    heights: Heights

    @property
    def name(self) -> str:
        return self.endpoint.name


@dataclass(frozen=True, slots=True)
class Blame:
    """A failure that an item met: where, and when that request began."""

    member: Member
    started: float
    failure: Failure


@dataclass(slots=True)
class Item:
    """One wanted block on its way to its one result."""

    wanted: Wanted
    result: FetchResult | None = None
    blames: list[Blame] = field(default_factory=list)
    troubled_at: float | None = None  # when the first thing went wrong: the budget runs from here


@dataclass(frozen=True, slots=True)
class Attempts:
    """Carries groups of items to their results, over the members that `choose` offers."""

    settings: RpcSettings
    clocks: Clocks
    choose: Callable[[Sequence[Item]], Awaitable[Member | IndexerError]]
    higher: Callable[[Member, int], Awaitable[Member | None]]
    took: Callable[[Round], None]
    urgent: bool

    async def settle(self, items: list[Item]) -> None:
        """Give each of `items` its result."""
        rounds = 0
        while items:
            member = await self.choose(items)
            if isinstance(member, IndexerError):
                for item in items:
                    item.result = await self._verdict(item, member)
                return
            rounds += 1
            await self._ask(member, items)
            items = [item for item in items if item.result is None]
            if self._is_over(items):
                for item in items:
                    item.result = await self._verdict(item, None)
                return
            parts = list(self._parts(items, rounds))
            if len(parts) > 1:
                await asyncio.gather(*(self.settle(part) for part in parts))
                return
            await self._back_off(items, rounds)

    async def _ask(self, member: Member, items: Sequence[Item]) -> None:
        started = self.clocks.monotonic()
        wanted = [item.wanted for item in items]
        answer = await fetch_on(member.endpoint, member.receipts, wanted, urgent=self.urgent)
        self.took(answer)
        absent: list[tuple[Item, Failure]] = []
        for item, outcome in zip(items, answer.outcomes, strict=True):
            if isinstance(outcome, Fetched):
                member.heights.saw(outcome.number)
                doubt = await self._doubt(member, item)
                if doubt is None:
                    item.result = outcome
                elif doubt is _NOT_FINAL:
                    absent.append((item, doubt))
                else:
                    self._note(item, Blame(member, started, doubt))
            elif outcome.kind in _ABSENT or outcome.code == "RPC_OTHER_HASH":
                absent.append((item, outcome))
            else:
                self._note(item, Blame(member, started, outcome))
        if absent:
            await self._absent(member, absent)

    def _note(self, item: Item, blame: Blame) -> None:
        if item.troubled_at is None:
            item.troubled_at = self.clocks.monotonic()
        if blame.failure.code == "RPC_RESPONSE_TOO_LARGE":
            text = f"block {item.wanted.number}: {blame.failure.message}"
            item.result = PoisonError(text, code="RPC_BLOCK_TOO_LARGE")
        if blame.failure.code not in _UNCOUNTED:
            item.blames.append(blame)

    # -- not there, or not that one -----------------------------------------------------------------------------

    async def _absent(self, member: Member, absent: list[tuple[Item, Failure]]) -> None:
        """Ask for absent blocks once at a member that is further, and decide about those that stay absent."""
        answered = [member]
        lowest = min(item.wanted.number for item, _ in absent)
        other = await self.higher(member, lowest)
        if other is not None:
            answered.append(other)
            items = [item for item, _ in absent]
            wanted = [item.wanted for item in items]
            answer = await fetch_on(other.endpoint, other.receipts, wanted, urgent=self.urgent)
            self.took(answer)
            for item, outcome in zip(items, answer.outcomes, strict=True):
                if isinstance(outcome, Fetched) and await self._doubt(other, item) is None:
                    item.result = outcome
        final = await self._finalized(answered)
        for item, failure in absent:
            if item.result is None:
                item.result = _absence(item.wanted, failure, final)

    async def _doubt(self, member: Member, item: Item) -> Failure | None:
        """Return why a block that arrived does not count: without an expected hash it does only at or below what is
        final where it comes from."""
        if item.wanted.expected_hash is not None:
            return None
        heights = member.heights
        if heights.finalized is None or item.wanted.number > heights.finalized:
            failure = await self._refresh(member)
            if failure is not None:
                return failure
        final = heights.finalized is not None and item.wanted.number <= heights.finalized
        return None if final else _NOT_FINAL

    async def _refresh(self, member: Member) -> Failure | None:
        """Ask what is final, more than once: a block that arrived is not to be fetched again for that."""
        for attempt in range(_FAIR_ATTEMPTS):
            failure = await member.heights.refresh(max_age=_FRESH_SECONDS)
            if failure is None:
                return None
            now = self.clocks.monotonic()
            pause = self.clocks.chance.uniform(0, self.settings.backoff_seconds * 2**attempt)
            await asyncio.sleep(min(max(pause, member.endpoint.ready_at(now) - now), self.settings.backoff_max_seconds))
        return failure

    async def _finalized(self, members: Sequence[Member]) -> int:
        """Return the greatest final height of `members`, below which waiting for a block makes no sense."""
        for member in members:
            await member.heights.refresh(max_age=_FRESH_SECONDS)
        return max((m.heights.finalized for m in members if m.heights.finalized is not None), default=-1)

    # -- again, or the end --------------------------------------------------------------------------------------

    def _is_over(self, items: Sequence[Item]) -> bool:
        """Is the budget used up? Groups get twice as much, since alone an innocent may still succeed; so do blocks that
        spent theirs in a queue rather than being asked for."""
        began = [item.troubled_at for item in items if item.troubled_at is not None]
        if not began:
            return False
        fair = len(items) == 1 and len(items[0].blames) >= _FAIR_ATTEMPTS
        budget = self.settings.budget_seconds * (1 if fair else 2)
        return self.clocks.monotonic() - min(began) >= budget

    def _parts(self, items: list[Item], rounds: int) -> Iterator[list[Item]]:
        last = [item.blames[-1].failure.kind for item in items if item.blames]
        suspicious = Kind.TIMEOUT in last or (rounds >= 2 and len(last) == len(items) and Kind.RATE not in last)
        step = len(items)
        if suspicious and step > 1:
            step = 1 if step <= 16 else -(-step // 8)
        return (items[at : at + step] for at in range(0, len(items), max(1, step)))

    async def _back_off(self, items: Sequence[Item], rounds: int) -> None:
        kinds = {item.blames[-1].failure.kind for item in items if item.blames}
        if kinds and kinds <= {Kind.RATE}:
            return  # the endpoint's own pause says when; `choose` waits for it
        longest = min(self.settings.backoff_max_seconds, self.settings.backoff_seconds * 2 ** min(rounds, 10))
        await asyncio.sleep(self.clocks.chance.uniform(0, longest))

    async def _verdict(self, item: Item, given_up: IndexerError | None) -> IndexerError:
        """Return the error for an item that was tried for long enough."""
        counted = [blame for blame in item.blames if blame.failure.kind is not Kind.RATE]
        where = f"block {item.wanted.number}"
        for blame in reversed(counted):
            if await self._answers_others(blame):
                text = f"{where}: {blame.failure.message} ({blame.member.name})"
                return TransientError(text, code=blame.failure.code)
        if given_up is not None:
            return given_up
        if counted:
            last = counted[-1]
            return OutageError(f"{where}: {last.failure.message} ({last.member.name})", code="RPC_OUTAGE")
        return OutageError(f"{where}: every endpoint asks for a pause", code="RPC_RATE_LIMITED")

    async def _answers_others(self, blame: Blame) -> bool:
        """Did, or does, the endpoint answer something else well? Only then was it the item that failed."""
        endpoint = blame.member.endpoint
        if endpoint.health.last_success > blame.started:
            return True
        now = self.clocks.monotonic()
        if endpoint.ready_at(now) > now:
            return False
        answer = (await endpoint.batch([Call("eth_blockNumber")], rank=Rank.URGENT)).answers[0]
        return not isinstance(answer, Failure)


def _absence(wanted: Wanted, failure: Failure, final: int) -> IndexerError:
    text = f"block {wanted.number}: {failure.message}"
    if wanted.number > final:
        return NotYetError(text, code="NOT_YET" if failure.kind in _ABSENT else failure.code)
    if failure.kind in _ABSENT:
        return TransientError(f"{text}, although it is below the finalized height", code="RPC_BLOCK_MISSING")
    return TransientError(text, code=failure.code)
