"""How many requests an endpoint takes at a time: a semaphore whose size may change, urgent callers first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import IntEnum


class Rank(IntEnum):
    """Who goes first: the head, then what was begun (it holds memory), then new work."""

    URGENT = 0
    FINISHING = 1
    NEW = 2


class Slots:
    """Hands out places up to `limit()`; those who wait are served by rank, then in order."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._queues: dict[Rank, deque[asyncio.Future[None]]] = {rank: deque() for rank in Rank}
        self.in_use = 0

    @property
    def waiting(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    @property
    def full(self) -> bool:
        return self.in_use >= self._limit()

    async def take(self, rank: Rank) -> None:
        if not self.full and not any(queue for other, queue in self._queues.items() if other <= rank):
            self.in_use += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues[rank]
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give_back()  # it was handed over in the very moment of the cancellation
            elif place in queue:
                queue.remove(place)
            raise

    def give_back(self) -> None:
        self.in_use -= 1
        self.refill()

    def refill(self) -> None:
        """Hand free places to those who wait; also needed when the limit grew."""
        while not self.full:
            queue = next((queue for queue in self._queues.values() if queue), None)
            if queue is None:
                return
            place = queue.popleft()
            if not place.done():
                self.in_use += 1
                place.set_result(None)
