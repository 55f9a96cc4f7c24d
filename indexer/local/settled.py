"""When a run may end: nothing is published any more, and what paused jobs had published is resolved."""

from __future__ import annotations

from collections.abc import Callable

STILL_SECONDS = 30.0  # without a block less under way: what is left waits for a retry, or for a node that is away


class Settled:
    """Told again and again how many blocks are under way, says whether to wait for them no longer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left, self._since = -1, 0.0

    def __call__(self, left: int) -> bool:
        now = self._clock()
        if left != self._left:
            self._left, self._since = left, now
        return left == 0 or now - self._since >= STILL_SECONDS
