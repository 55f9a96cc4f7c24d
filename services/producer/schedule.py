"""How much of a job may be published now: windows, rates and the share of each job. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.topics import STRIPE


@dataclass(slots=True)
class Allowance:
    """A token bucket of blocks; holds at most one second's worth, so that a pause is not made up for by a flood."""

    tokens: float = 0.0
    at: float | None = None

    def take(self, rate: float | None, now: float, wanted: int) -> int:
        """Return how many of `wanted` blocks may go now, in whole stripes; they are spent. `rate` None: all of them."""
        if rate is None:
            self.at = None
            return wanted
        if self.at is None:
            self.tokens, self.at = 0.0, now
        self.tokens = min(self.tokens + (now - self.at) * rate, max(rate, STRIPE))
        self.at = now
        granted = min(wanted, int(self.tokens)) // STRIPE * STRIPE
        self.tokens -= granted
        return granted


def stripes_now(window: int, under_way: int, parked: int, partitions: int, batch_size: int) -> int:
    """Return how many stripes to publish before the next look at the job.

    The window is never below one stripe per partition, or most decoders would wait. What is parked in
    `blocks.retry.*` does not count against it: a hint, not a count, so it never lets more than one window more out.
    """
    floor = max(window, STRIPE * partitions)
    room = floor - max(under_way - min(parked, floor), 0)
    return min(max(room // STRIPE, 0), max(-(-batch_size // STRIPE), 1))
