"""How much of a job may be published now: windows, rates and the share of each job. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from indexer.limits import MOST_BATCH_SIZE, MOST_WINDOW, usable
from indexer.topics import STRIPE

_MEASURED_SECONDS = 3.0


@dataclass(slots=True)
class Allowance:
    """A token bucket of blocks; holds at most one second's worth, so that a pause is not made up for by a flood."""

    tokens: float = 0.0
    at: float | None = None

    def take(self, rate: float | None, now: float, wanted: int) -> int:
        """Return how many of `wanted` blocks may go now, in whole stripes; they are spent. No usable rate: all."""
        if rate is None or not usable(rate):
            self.at = None
            return wanted
        if self.at is None:
            self.tokens, self.at = 0.0, now
        self.tokens = min(self.tokens + (now - self.at) * rate, max(rate, STRIPE))
        self.at = now
        granted = min(wanted, int(self.tokens)) // STRIPE * STRIPE
        self.tokens -= granted
        return granted


@dataclass(slots=True)
class Measured:
    """How many blocks a second were stored lately, and so how many may be under way where the head must not wait."""

    seconds: float = 1.0  # of work that may lie in front of a new head
    seen: deque[tuple[float, int]] = field(default_factory=deque)  # times, and blocks stored by then

    def note(self, now: float, stored: int) -> None:
        self.seen.append((now, stored))
        while now - self.seen[0][0] > _MEASURED_SECONDS:
            self.seen.popleft()

    def room(self, under_way: int) -> int:
        """Return how many more stripes may go; never less than two are under way, or nothing could be measured."""
        rate = 0.0
        if self.seen and (took := self.seen[-1][0] - self.seen[0][0]) > 0:
            rate = (self.seen[-1][1] - self.seen[0][1]) / took
        return max(max(int(rate * self.seconds), 2 * STRIPE) - under_way, 0) // STRIPE


def stripes_now(window: int, under_way: int, parked: int, partitions: int, batch_size: int) -> int:
    """Return how many stripes to publish before the next look at the job.

    The window is never below one stripe per partition, or most decoders would wait. What is parked in
    `blocks.retry.*` does not count against it: a hint, not a count, so it never lets more than one window more out.
    """
    window, batch_size = min(window, MOST_WINDOW), min(batch_size, MOST_BATCH_SIZE)  # rows that nobody checked
    floor = max(window, STRIPE * partitions)
    room = floor - max(under_way - min(parked, floor), 0)
    return min(max(room // STRIPE, 0), max(-(-batch_size // STRIPE), 1))
