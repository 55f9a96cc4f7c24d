"""How many requests an endpoint takes at a time: a semaphore whose size may change, urgent callers first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Slots:
    """Hands out places up to `limit()`; who waits is served in order, urgent ones before the others."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._bulk: deque[asyncio.Future[None]] = deque()
        self.in_use = 0

    @property
    def waiting(self) -> int:
        return len(self._urgent) + len(self._bulk)

    @property
    def full(self) -> bool:
        return self.in_use >= self._limit()

    async def take(self, *, urgent: bool) -> None:
        if not self.full and not self._urgent and (urgent or not self._bulk):
            self.in_use += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._urgent if urgent else self._bulk
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
        while not self.full and (self._urgent or self._bulk):
            place = (self._urgent or self._bulk).popleft()
            if not place.done():
                self.in_use += 1
                place.set_result(None)
