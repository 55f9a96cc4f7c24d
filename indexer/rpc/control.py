"""The small control laws of one endpoint: concurrency, batch size, circuit breaker, health; no clock of their own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Aimd:
    """Additive increase, multiplicative decrease of the number of requests at a time.

    - a window of good answers while the limit was reached: one more
    - overload (429, 5xx, timeout): half, once for all requests that were under way together
    - one at a time and still refused for the rate: less than one, that is, a gap between requests
    """

    _LOWEST = 1 / 8  # refusals that have nothing to do with the rate must not bring everything to a stop
    _LONGEST_GAP_SECONDS = 1.0
    _QUIET_SECONDS = 10.0

    def __init__(self, *, start: int, maximum: int) -> None:
        self._maximum = maximum
        self._value = float(min(start, maximum))
        self._decreased_at = float("-inf")

    @property
    def limit(self) -> int:
        return max(1, int(self._value))

    def gap(self, latency_seconds: float) -> float:
        """Return the seconds to leave free before a request, where an answer takes `latency_seconds`."""
        if self._value >= 1:
            return 0.0
        return min(self._LONGEST_GAP_SECONDS, max(latency_seconds, 0.02) * (1 / self._value - 1))

    def succeeded(self, *, limit_reached: bool, now: float) -> None:
        if self._value < 1:
            # Slowly, since each refusal costs a pause; quickly again once the node is content.
            self._value *= 1.25 if now - self._decreased_at > self._QUIET_SECONDS else 1.08
        elif limit_reached:
            self._value = min(self._maximum, self._value + 1 / self._value)

    def overloaded(self, *, started: float, now: float, rate: bool) -> bool:
        """Take note of an overload that met a request begun at `started`; True if it was news."""
        if started < self._decreased_at:
            return False
        self._decreased_at = now
        lowest = self._LOWEST if rate else min(1.0, self._value)
        self._value = max(lowest, self._value / 2)
        return True


class BatchLimit:
    """How many calls a provider takes in one HTTP request, learned from its refusals.

    - refused: half, or what the refusal names; never again the refused size until `forget_seconds` passed
    - a full batch taken: a tenth more
    """

    def __init__(self, maximum: int, *, forget_seconds: float = 600.0) -> None:
        self._maximum = maximum
        self._value = float(maximum)
        self._refused: int | None = None
        self._refused_at = 0.0
        self._forget_seconds = forget_seconds

    @property
    def size(self) -> int:
        return int(self._value)

    def refused(self, size: int, now: float, named: int | None = None) -> None:
        self._refused = min(size, self._refused or size)
        self._refused_at = now
        smaller = named if named is not None and 1 <= named < size else size // 2
        self._value = float(max(1, min(self._value, smaller)))

    def taken(self, size: int, now: float) -> None:
        if size < self.size or self.size >= self._maximum:
            return
        if self._refused is not None and now - self._refused_at > self._forget_seconds:
            self._refused = None
        ceiling = self._maximum if self._refused is None else self._refused - 1
        self._value = max(1.0, min(ceiling, self._value + max(0.25, self._value / 10)))


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Leaves an endpoint alone that fails again and again.

    - closed: everything passes; `failures` failures in a row open it
    - open: nothing passes until its time is over, then it is half-open
    - half-open: one trial passes; good closes, bad opens for twice as long
    """

    def __init__(self, *, failures: int, open_seconds: float, open_max_seconds: float) -> None:
        self._threshold = failures
        self._first_seconds = open_seconds
        self._max_seconds = open_max_seconds
        self._open_seconds = open_seconds
        self._in_a_row = 0
        self._until: float | None = None
        self._trial = False

    def state(self, now: float) -> BreakerState:
        if self._until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._until else BreakerState.HALF_OPEN

    def ready_at(self, now: float) -> float:
        """Return when a request may be tried: `now`, or later."""
        if self._until is None:
            return now
        if self._trial:  # its outcome decides; look again shortly
            return now + 0.05
        return max(now, self._until)

    def enter(self, now: float) -> bool:
        """Ask to make a request; the one that gets through a half-open breaker is its trial."""
        state = self.state(now)
        if state is BreakerState.HALF_OPEN and not self._trial:
            self._trial = True
            return True
        return state is BreakerState.CLOSED

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._until = None
        self._trial = False
        self._open_seconds = self._first_seconds

    def undecided(self) -> None:
        """The trial ended without a verdict (cancelled, refused for its rate): the next may try."""
        self._trial = False

    def failed(self, now: float) -> None:
        self._in_a_row += 1
        if self._trial:
            self._trial = False
            self._open_seconds = min(self._max_seconds, self._open_seconds * 2)
            self._until = now + self._open_seconds
        elif self._until is None and self._in_a_row >= self._threshold:
            self._until = now + self._open_seconds


@dataclass(slots=True)
class Health:
    """Moving averages of what an endpoint did lately: seconds per request, and the part that failed."""

    latency_seconds: float = 0.0  # 0: never measured, so that a new endpoint is tried soon
    error_ratio: float = 0.0
    last_success: float = float("-inf")

    def succeeded(self, seconds: float, now: float) -> None:
        known = self.latency_seconds > 0
        self.latency_seconds = 0.8 * self.latency_seconds + 0.2 * seconds if known else seconds
        self.error_ratio *= 0.9
        self.last_success = now

    def failed(self) -> None:
        self.error_ratio = 0.9 * self.error_ratio + 0.1

    def score(self) -> float:
        """Return seconds a request is expected to cost, failures priced in; less is better."""
        return max(self.latency_seconds, 0.005) * (1 + 10 * self.error_ratio) + 0.1 * self.error_ratio
