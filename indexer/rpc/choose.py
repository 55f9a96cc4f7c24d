"""Which endpoint to ask next: healthy ones first, none of another chain, and an outage when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from indexer.errors import FatalError, IndexerError, OutageError, TransientError
from indexer.rpc.answers import Failure, Kind
from indexer.rpc.attempt import Item, Member
from indexer.rpc.endpoint import Clocks
from indexer.rpc.settings import RpcSettings

_NAP_SECONDS = 0.1
_EXPLORE = 0.05  # now and then another endpoint than the best is asked: how else would it show that it got better


class Chooser:
    """Chooses among the members of a pool; the cheapest by expected waiting time, failures priced in."""

    def __init__(self, members: Sequence[Member], settings: RpcSettings, clocks: Clocks) -> None:
        self._members = members
        self._settings = settings
        self._clocks = clocks
        self._expected: int | None = None

    async def choose(self, items: Sequence[Item], *, exclude: AbstractSet[str]) -> Member | IndexerError:
        """Return the endpoint to ask next, waiting for one within the items' budget; or why there is none."""
        avoid = {blame.member.name for item in items for blame in item.blames[-1:]}
        while True:
            candidates = [member for member in self._members if member.name not in exclude]
            if not candidates:
                return TransientError("no other endpoint to ask", code="RPC_NO_OTHER_ENDPOINT")
            if all(member.endpoint.disabled for member in candidates):
                return _wrong_chain(candidates, self._expected)
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
            if any(item.wanted.expected_hash is None for item in items):
                ready = _most_final(ready, highest)
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

    async def higher(self, than: Member, number: int, *, exclude: AbstractSet[str]) -> Member | None:
        """Return another endpoint that has block `number`, if any."""
        for member in self._members:
            now = self._clocks.monotonic()
            if member is than or member.name in exclude or member.endpoint.ready_at(now) > now:
                continue
            await member.heights.refresh(max_age=1.0)
            known = member.heights.head is not None and member.heights.head >= number
            if known and await self._serves_our_chain(member):
                return member
        return None

    # -- the chain ----------------------------------------------------------------------------------------------

    async def check_chain(self, expected: int) -> None:
        """Raise FatalError `WRONG_CHAIN` if an endpoint serves another chain; OutageError if none answers.

        An endpoint that does not answer now is checked before its first use.
        """
        self._expected = expected
        failures = await asyncio.gather(*(member.heights.learn_chain() for member in self._members))
        wrong = [m for m in self._members if m.heights.chain_id not in (None, expected)]
        if wrong:
            raise _wrong_chain(wrong, expected)
        if all(failures):
            reasons = ", ".join(f"{m.name}: {f.message}" for m, f in zip(self._members, failures, strict=True) if f)
            raise OutageError(f"no endpoint answers ({reasons})", code="RPC_OUTAGE")

    async def _serves_our_chain(self, member: Member) -> bool:
        """Check an endpoint that was away when the chain was checked; one of another chain is never used."""
        if self._expected is None or member.heights.chain_id == self._expected:
            return True
        if await member.heights.learn_chain() is None and member.heights.chain_id != self._expected:
            text = f"it serves chain {member.heights.chain_id}, not {self._expected}"
            member.endpoint.disabled = Failure(Kind.REFUSED, "WRONG_CHAIN", text)
        return member.heights.chain_id == self._expected


def _most_final(ready: Sequence[Member], highest: int) -> Sequence[Member]:
    """Return the members where the height is final, as far as is known; else those where most is (PROTOCOL 5)."""
    known = [m.heights.finalized for m in ready if m.heights.finalized is not None]
    least = min(highest, max(known, default=highest))
    return [m for m in ready if m.heights.finalized is None or m.heights.finalized >= least]


def _wrong_chain(members: Sequence[Member], expected: int | None) -> FatalError:
    found = ", ".join(f"{member.name} serves chain {member.heights.chain_id}" for member in members)
    return FatalError(f"{found}; CHAIN_ID says {expected}", code="WRONG_CHAIN")
