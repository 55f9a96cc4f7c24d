"""A node's rate limit is for the whole deployment: a decoder takes the part that its partitions are of all."""

from __future__ import annotations

from collections.abc import Callable


class RateShare:
    """Tells the pool its part whenever the assignment changes."""

    def __init__(self, tell: Callable[[float], None], partitions: int) -> None:
        self._tell, self._partitions = tell, partitions
        self._told: int | None = None

    def tick(self, owned: int) -> None:
        """Note how many partitions are owned; while there are none, a single partition's part is kept."""
        if owned != self._told:
            self._told = owned
            self._tell(max(1, owned) / self._partitions)
