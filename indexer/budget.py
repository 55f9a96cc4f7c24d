"""The dead-letter budget: when most of the last records died, something else is wrong than the records; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

LAST = 1000
FEWEST = 100
CODE = "DEAD_LETTER_BUDGET"


def stop_in_words(service: str, why: str) -> str:
    """Return the one line that says what is stopped, why, and how to go on."""
    return f"{service} is stopped: {why}; mend the cause, then `indexer dlq resume {service}` [{CODE}]"


class Budget:
    """Of the last 1,000 records no more than half may die, unless fewer than 100 did."""

    def __init__(self) -> None:
        self._fates: deque[bool] = deque(maxlen=LAST)

    def note(self, died: Iterable[bool]) -> None:
        self._fates.extend(died)

    @property
    def spent(self) -> bool:
        dead = sum(self._fates)
        return dead >= FEWEST and 2 * dead > len(self._fates)

    def in_words(self) -> str:
        return f"{sum(self._fates)} of the last {len(self._fates)} records became dead letters"

    def clear(self) -> None:
        self._fates.clear()
