"""Partitions whose next record is not due yet; clocks may be stepped, ours and that of whoever wrote the record.

- due by our clock: it is handed out
- due within the longest wait of its topic: it is held until our clock says so, or until that time is over; then it is
  looked at again
- due later than anybody with our clock could have meant: its writer's clock is ahead, or ours was set back. It is
  taken to have been written just now, and what follows it in its partition by the same clock.

A writer whose clock is behind, or ours ahead, makes retries early; nothing here can know that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from indexer.inflight import Record, TopicPartition


class Holds:
    def __init__(
        self,
        due_ms: Callable[[Record], int] | None,
        longest: Mapping[str, float],
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`due_ms` returns the Unix ms before which a record is not to be handed out; `longest`: seconds, by topic."""
        self._due_ms, self._longest, self._wall, self._monotonic = due_ms, longest, wall, monotonic
        self._until: dict[TopicPartition, tuple[float, float]] = {}  # by our wall clock, and by what nobody steps
        self._ahead: dict[TopicPartition, float] = {}  # seconds that the clock of its writer is ahead of ours

    def __contains__(self, source: TopicPartition) -> bool:
        return source in self._until

    def hold(self, record: Record) -> bool:
        """Return whether a record is to wait; its partition is held then."""
        due = self._due_ms(record) / 1000 if self._due_ms is not None else 0.0
        if due == 0.0 or (seconds := self._wait(record.source, due - self._wall())) <= 0:
            return False
        self._until[record.source] = (self._wall() + seconds, self._monotonic() + seconds)
        return True

    def over(self) -> list[TopicPartition]:
        """Let go of the partitions whose time has come, and return them."""
        wall, monotonic = self._wall(), self._monotonic()
        found = [source for source, (due, last) in self._until.items() if due <= wall or last <= monotonic]
        for source in found:
            del self._until[source]
        return found

    def drop(self, source: TopicPartition) -> bool:
        """Let go of a partition; return whether it was held."""
        return self._until.pop(source, None) is not None

    def clear(self) -> None:
        self._until.clear()
        self._ahead.clear()

    def _wait(self, source: TopicPartition, seconds: float) -> float:
        longest = self._longest.get(source.topic, math.inf)
        if seconds <= longest:
            self._ahead.pop(source, None)
            return seconds
        self._ahead[source] = max(self._ahead.get(source, 0.0), seconds - longest)
        return seconds - self._ahead[source]
