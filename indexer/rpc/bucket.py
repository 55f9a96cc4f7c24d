"""The deployment-wide rate of calls towards one URL: a token bucket with a part kept for the head."""

from __future__ import annotations

_LOWEST_SHARE = 0.01  # a process without partitions still has to ask for the chain id


class TokenBucket:
    """Tokens arrive at `rate` a second, up to one second's worth; a large batch may run into debt.

    `take` says how long to wait instead of waiting, so that the owner's clock and a changed rate decide.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = max(1.0, rate)
        self._at = now

    def set_rate(self, rate: float, now: float) -> None:
        self._refill(now)
        self._rate = rate
        self._tokens = min(self._tokens, max(1.0, rate))

    def take(self, count: int, now: float) -> float:
        """Take `count` tokens and return 0, or take none and return the seconds until it is worth asking again."""
        self._refill(now)
        needed = min(float(count), max(1.0, self._rate))
        if self._tokens + 1e-9 >= needed:
            self._tokens -= count
            return 0.0
        return (needed - self._tokens) / self._rate

    def _refill(self, now: float) -> None:
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) * self._rate)
        self._at = now


class RateLimit:
    """This process's share of a URL's rate: bulk calls use their part, urgent ones the reserve and then the rest."""

    def __init__(self, max_rps: float | None, *, head_reserve: float, now: float) -> None:
        self._max_rps = max_rps
        self._reserve = head_reserve
        self._bulk = TokenBucket(self._rate(1.0) * (1 - head_reserve), now)
        self._head = TokenBucket(self._rate(1.0) * head_reserve or 1e-6, now)

    def _rate(self, share: float) -> float:
        return (self._max_rps or 0.0) * min(1.0, max(_LOWEST_SHARE, share)) or 1.0

    def set_share(self, share: float, now: float) -> None:
        """Set this process's part of the rate, 0..1."""
        self._bulk.set_rate(self._rate(share) * (1 - self._reserve), now)
        self._head.set_rate(self._rate(share) * self._reserve or 1e-6, now)

    def take(self, count: int, now: float, *, urgent: bool) -> float:
        """Return 0 when `count` calls may go, else the seconds to wait before asking again."""
        if self._max_rps is None:
            return 0.0
        if not urgent:
            return self._bulk.take(count, now)
        wait = self._head.take(count, now)
        return wait and min(wait, self._bulk.take(count, now))
