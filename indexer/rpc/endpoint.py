"""One JSON-RPC endpoint: batches over HTTP, at the pace that the node bears."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from indexer.clock import wall as wall_clock
from indexer.rpc.answers import Answer, Call, Failure, Kind, of_status, read_body
from indexer.rpc.bucket import RateLimit
from indexer.rpc.control import Aimd, BatchLimit, Breaker, Health
from indexer.rpc.raw import RawAnswer, Split, raw_answers
from indexer.rpc.settings import RpcSettings
from indexer.rpc.slots import Rank, Slots
from indexer.rpc.stats import EndpointStats
from indexer.rpc.transport import Reply, Transport, TransportError, retry_after_seconds

_SPLITS = (Kind.BATCH_TOO_LARGE, Kind.RESPONSE_TOO_LARGE)
_OVERLOAD = (Kind.RATE, Kind.SERVER, Kind.TIMEOUT)
_AGAIN = (Kind.CONNECTION, Kind.MALFORMED, Kind.SERVER)
_FINISHING_TRIES = 2
_LONGEST_NAP_SECONDS = 0.25  # a share or a pause may change while somebody waits for it
_MOST_CALLS = 1000  # geth's own default for one batch


_TOO_FEW = Failure(Kind.REFUSED, "RPC_NO_BATCHES", "the node takes too few calls in one request")

_Part = tuple[list[Answer], int, float]  # answers, bytes of the body, seconds the node took


@dataclass(slots=True)
class BatchAnswers:
    """An answer and about how many bytes it had, for each call; and the seconds the node took for all."""

    answers: list[Answer]
    sizes: list[int]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time and chance, so that tests can bring their own."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = wall_clock
    chance: random.Random = field(default_factory=random.Random)


class Endpoint:
    """Sends batches to one URL; every failure comes back as a `Failure` in place of the answer, none is raised.

    A batch that the node finds too large is cut into smaller ones here; everything else is the pool's decision.
    """

    def __init__(
        self, name: str, transport: Transport, settings: RpcSettings, clocks: Clocks, split: Split | None = None
    ) -> None:
        self.name = name
        self._transport = transport
        self._settings = settings
        self._clocks = clocks
        self._split = split
        self.health = Health()
        self.stats = EndpointStats(name)
        self.batch_limit = BatchLimit(_MOST_CALLS)
        self.disabled: Failure | None = None  # a node of another chain is never asked again
        self._aimd = Aimd(start=settings.start_concurrency, maximum=settings.max_concurrency)
        self._slots = Slots(lambda: self._aimd.limit)
        self._breaker = Breaker(
            failures=settings.breaker_failures,
            open_seconds=settings.breaker_open_seconds,
            open_max_seconds=settings.breaker_open_max_seconds,
        )
        self._rate = RateLimit(settings.max_rps, head_reserve=settings.head_reserve, now=clocks.monotonic())
        self._paused_until = float("-inf")
        self._refusals = 0
        self._next_id = 1
        self._giant = asyncio.Lock()

    # -- what the pool looks at ---------------------------------------------------------------------------------

    def ready_at(self, now: float) -> float:
        """Return when a request may be sent: `now`, or the end of a pause or of the breaker's time."""
        if self.disabled is not None:
            return float("inf")
        return max(self._breaker.ready_at(now), self._paused_until)

    def is_down(self, now: float) -> bool:
        """Does the breaker keep requests away, as opposed to a pause that the node asked for?"""
        return self.disabled is not None or self._breaker.state(now) != "closed"

    def cost(self) -> float:
        """Return about how many seconds a request put here now would take; less is better."""
        queue = (self._slots.in_use + self._slots.waiting + 1) / self._aimd.limit
        return self.health.score() * max(1.0, queue)

    def set_share(self, share: float) -> None:
        self._rate.set_share(share, self._clocks.monotonic())

    def snapshot(self) -> EndpointStats:
        copy = self.stats.copy()
        copy.breaker = "disabled" if self.disabled else self._breaker.state(self._clocks.monotonic()).value
        copy.concurrency = self._aimd.limit
        copy.in_use = self._slots.in_use
        copy.batch_limit = self.batch_limit.size
        copy.latency_seconds = self.health.latency_seconds
        copy.error_ratio = self.health.error_ratio
        return copy

    async def close(self) -> None:
        await self._transport.close()

    # -- sending ------------------------------------------------------------------------------------------------

    async def batch(
        self, calls: Sequence[Call], *, rank: Rank = Rank.NEW, least: int = 1, raw: bool = False
    ) -> BatchAnswers:
        """Return an answer per call, in as few HTTP requests as the node allows.

        Where the node takes fewer than `least` calls in a request, the rest is not asked at all. What finishes work
        that was begun is more patient: it waits out the pauses that the node asks for and tries a failed part again,
        since starting over would only cost more. `raw`: blocks or receipts are asked for, and each may come as a
        `RawAnswer`.
        """
        result = BatchAnswers([None] * len(calls), [0] * len(calls))
        finishing = rank is Rank.FINISHING
        tries = [_FINISHING_TRIES if finishing else 0] * len(calls)
        deadline = self._clocks.monotonic() + (self._settings.budget_seconds if finishing else 0.0)
        todo: deque[list[int]] = deque([list(range(len(calls)))] if calls else [])
        while todo:
            part = todo.popleft()
            size = self.batch_limit.size
            if size < least and len(calls) > 1:
                for index in part:
                    result.answers[index] = _TOO_FEW
                continue
            if len(part) > size:
                todo.appendleft(part[size:])
                part = part[:size]
            answers, body_bytes, seconds = await self._part([calls[index] for index in part], rank, raw)
            result.seconds += seconds
            smaller: list[int] = []
            refused: list[int] = []
            for index, answer in zip(part, answers, strict=True):
                kind = answer.kind if isinstance(answer, Failure) else None
                if kind in _SPLITS and len(part) > 1:
                    smaller.append(index)
                elif kind in _AGAIN and tries[index] > 0:
                    tries[index] -= 1
                    smaller.append(index)
                elif kind is Kind.RATE and max(self._clocks.monotonic(), self._paused_until) < deadline:
                    refused.append(index)
                else:
                    result.answers[index] = answer
                    result.sizes[index] = _size(answer, body_bytes // len(part))
            # What did not fit goes again in halves of what was sent, not of what is left of it.
            half = max(1, len(part) // 2)
            todo.extendleft(smaller[at : at + half] for at in range(0, len(smaller), half))
            if refused:
                await self._pause_over()
                todo.appendleft(refused)
        return result

    async def _pause_over(self) -> None:
        while (left := self._paused_until - self._clocks.monotonic()) > 0:
            await asyncio.sleep(min(left, _LONGEST_NAP_SECONDS))

    async def _part(self, calls: list[Call], rank: Rank, raw: bool) -> _Part:
        """Send one HTTP request; a single answer too big for a batch gets a second chance with the larger limit."""
        part = await self._request(calls, rank, self._settings.max_response_bytes, raw)
        first = part[0][0]
        too_big = isinstance(first, Failure) and first.kind is Kind.RESPONSE_TOO_LARGE
        if too_big and len(calls) == 1:
            async with self._giant:  # one at a time: it may need a large part of the memory
                return await self._request(calls, rank, self._settings.max_block_bytes, raw)
        return part

    async def _request(self, calls: list[Call], rank: Rank, limit: int, raw: bool) -> _Part:
        # The rate comes before the place: bulk calls that wait for tokens must not keep the head out.
        while wait := self._rate.take(len(calls), self._clocks.monotonic(), urgent=rank is Rank.URGENT):
            await asyncio.sleep(min(wait, _LONGEST_NAP_SECONDS))
        await self._slots.take(rank)
        try:
            refusal = await self._admission()
            if refusal is not None:
                return [refusal] * len(calls), 0, 0.0
            return await self._exchange(calls, limit, raw)
        finally:
            self._slots.give_back()

    async def _admission(self) -> Failure | None:
        """Leave the gap that the node needs; refuse when it asked for a pause meanwhile, or the breaker opened."""
        if gap := self._aimd.gap(self.health.latency_seconds):
            await asyncio.sleep(gap)
        now = self._clocks.monotonic()
        if self.disabled is not None:
            return self.disabled
        if self._paused_until > now:
            left = self._paused_until - now
            return Failure(Kind.RATE, "RPC_RATE_LIMITED", "the node asked for a pause", left)
        if not self._breaker.enter(now):
            return Failure(Kind.CONNECTION, "RPC_CIRCUIT_OPEN", "it failed again and again and is left alone a while")
        return None

    async def _exchange(self, calls: list[Call], limit: int, raw: bool) -> _Part:
        first_id, self._next_id = self._next_id, self._next_id + len(calls)
        started = self._clocks.monotonic()
        body_bytes = 0
        parse_seconds = 0.0
        try:
            reply = await self._transport.post(_encode(calls, first_id), limit=limit)
            body_bytes = len(reply.body)
            arrived = self._clocks.monotonic()
            outcome = self._read(reply, first_id, len(calls), self._split if raw else None)
            del reply  # the body's memory is free before anybody looks at the answers
            parse_seconds = self._clocks.monotonic() - arrived
        except TransportError as error:
            outcome = error.failure
        except asyncio.CancelledError:
            self._breaker.undecided()
            raise
        self._learn(outcome, len(calls), started)
        seconds = self._clocks.monotonic() - started - parse_seconds
        self._count(calls, outcome, body_bytes, seconds, parse_seconds)
        return (outcome if isinstance(outcome, list) else [outcome] * len(calls)), body_bytes, seconds

    def _read(self, reply: Reply, first_id: int, count: int, split: Split | None) -> list[Answer] | Failure:
        if reply.status == 200:
            unread = raw_answers(reply.body, first_id, count, split) if split else None
            return read_body(reply.body, first_id, count) if unread is None else list(unread)
        after = retry_after_seconds(reply.retry_after, self._clocks.wall)
        return of_status(reply.status, bytes(reply.body[:4096]), after)

    # -- learning -----------------------------------------------------------------------------------------------

    def _learn(self, outcome: list[Answer] | Failure, count: int, started: float) -> None:
        now = self._clocks.monotonic()
        failure = outcome if isinstance(outcome, Failure) else _common_failure(outcome)
        if failure is None:
            self._refusals = 0
            self._breaker.succeeded()
            self.health.succeeded(now - started, now)
            self._aimd.succeeded(limit_reached=self._slots.full, now=now)
            self._slots.refill()
            self.batch_limit.taken(count, now)
            return
        if failure.kind in _OVERLOAD:
            self._slow_down(failure, started, now)
        if failure.kind is Kind.BATCH_TOO_LARGE:
            self.batch_limit.refused(count, now, failure.named_limit)
        if failure.kind in (Kind.RATE, *_SPLITS):
            self._breaker.undecided()  # it is alive and says how it wants to be asked
            return
        self.health.failed()
        self._breaker.failed(now)

    def _slow_down(self, failure: Failure, started: float, now: float) -> None:
        news = self._aimd.overloaded(started=started, now=now, rate=failure.kind is Kind.RATE)
        wished = failure.retry_after_seconds
        if wished is not None:
            wished = min(wished, self._settings.retry_after_max_seconds)
        elif failure.kind is Kind.RATE and news:
            self._refusals += 1
            pause = min(self._settings.backoff_max_seconds, 0.25 * 2 ** min(self._refusals, 10))
            wished = pause * self._clocks.chance.uniform(0.5, 1.0)
        if wished is not None:
            self._paused_until = max(self._paused_until, now + wished)

    def _count(
        self, calls: list[Call], outcome: list[Answer] | Failure, body_bytes: int, waited: float, parsed: float
    ) -> None:
        stats = self.stats.method(calls[0].method)
        stats.requests += 1
        stats.calls += len(calls)
        stats.bytes += body_bytes
        stats.seconds += waited
        stats.parse_seconds += parsed
        if isinstance(outcome, Failure):
            stats.failed_requests += 1
            stats.failed_calls += len(calls)
            stats.rate_limited += outcome.kind is Kind.RATE
        else:
            stats.failed_calls += sum(isinstance(answer, Failure) for answer in outcome)


def _size(answer: Answer, share: int) -> int:
    return len(answer.json) if isinstance(answer, RawAnswer) else share


def _encode(calls: list[Call], first_id: int) -> bytes:
    # A single call goes without a list around it: a node without batch support takes it too.
    items: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": first_id + index, "method": call.method, "params": list(call.params)}
        for index, call in enumerate(calls)
    ]
    return orjson.dumps(items if len(items) > 1 else items[0])


def _common_failure(answers: list[Answer]) -> Failure | None:
    """Return what makes a well-formed answer a bad one for the endpoint: every call failed, and by its fault.

    One call refused for its rate is enough: the node said that it is being asked too fast.
    """
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    for failure in failures:
        if failure.kind is Kind.RATE:
            return failure
    if len(failures) < len(answers):
        return None
    bad = [failure for failure in failures if failure.kind in (Kind.SERVER, Kind.MALFORMED, Kind.TIMEOUT)]
    return bad[0] if len(bad) == len(answers) else None
