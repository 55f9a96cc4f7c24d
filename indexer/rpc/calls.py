"""Calls of any method: asked elsewhere when the endpoint failed, never when the node gave an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from indexer.errors import IndexerError, NotYetError, OutageError, TransientError
from indexer.rpc.answers import Answer, Call, Failure, Kind
from indexer.rpc.attempt import Item, Member
from indexer.rpc.choose import Chooser
from indexer.rpc.endpoint import Clocks
from indexer.rpc.fetch import Wanted
from indexer.rpc.settings import RpcSettings
from indexer.rpc.slots import Rank

_MOST_ROUNDS = 8
_ELSEWHERE = (Kind.CONNECTION, Kind.TIMEOUT, Kind.MALFORMED, Kind.RATE, Kind.REFUSED)


class Calls:
    """Makes calls over the members that the chooser offers."""

    def __init__(self, chooser: Chooser, settings: RpcSettings, clocks: Clocks) -> None:
        self._chooser = chooser
        self._settings = settings
        self._clocks = clocks

    async def batch(self, calls: Sequence[Call], *, urgent: bool = False) -> list[Any]:
        """Return a result or an error per call, in order; what failed for the endpoint's sake is asked elsewhere."""
        results: list[Answer] = [None] * len(calls)
        todo = list(range(len(calls)))
        item = Item(Wanted(0))
        rank = Rank.URGENT if urgent else Rank.NEW
        rounds = 0
        while todo:
            member = await self._chooser.choose([item], exclude=frozenset())
            if isinstance(member, IndexerError):
                error = member
                return [error if index in todo else results[index] for index in range(len(calls))]
            started = self._clocks.monotonic()
            item.troubled_at = item.troubled_at or started
            got = await member.endpoint.batch([calls[index] for index in todo], rank=rank)
            rounds += 1
            over = started - item.troubled_at >= self._settings.budget_seconds or rounds >= _MOST_ROUNDS
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
