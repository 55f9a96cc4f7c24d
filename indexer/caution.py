"""Finds the record that kills its process, and no innocent neighbour of it; pure (PROTOCOL 17).

After a death the whole process takes one record at a time, and stores a marker with the committed offset before each:
whose record is about to be handled, by which slot, since when, and how often a process died of it so far.

- the process ends in order, or the record is passed: the marker goes with the next commit
- it dies: the successor in its slot finds the marker, and knows how its predecessor died (indexer/life.py)
- three such deaths, quick and of one cause: the record is condemned, and becomes a dead letter
- a death that no record can be blamed for (killed from outside) counts for nothing
- another slot finds the marker: it cannot know what became of its maker, takes the record alone, counts nothing
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from indexer.errors import PoisonError
from indexer.inflight import Record, TopicPartition

DEATHS = 3
QUICK_MS = 30_000  # from the marker to the death: later it was something else that the process waited for
_BEAT_MS = 3_000  # a death is only known as well as the last sign of life
_RECORDS = 128  # that are taken alone after a death; what killed it is among the first, or the next death finds it


@dataclass(frozen=True, slots=True)
class Marker:
    """The record that is under way alone, and the deaths that it may be blamed for."""

    offset: int
    deaths: int = 0
    cause: str = ""
    by: str = ""
    at_ms: int = 0

    def text(self) -> str:
        """Return it as the metadata of a committed offset."""
        return json.dumps(asdict(self), separators=(",", ":"))


_TYPES = {"offset": int, "deaths": int, "cause": str, "by": str, "at_ms": int}


@dataclass(frozen=True, slots=True)
class Death:
    """How the predecessor in this slot ended; `counts` is False where it was killed from outside."""

    cause: str
    at_ms: int
    counts: bool = True


def read_marker(text: str | None) -> Marker | None:
    """Return the marker in an offset's metadata; None for anything else."""
    try:
        marker = Marker(**json.loads(text)) if text else None
    except (ValueError, TypeError, RecursionError):
        return None
    if marker is None or any(not isinstance(getattr(marker, name), kind) for name, kind in _TYPES.items()):
        return None
    return marker


def after(marker: Marker, death: Death | None, slot: str, started_ms: int) -> Marker:
    """Return the marker with the death counted, if it is this record's."""
    if death is None or not death.counts or marker.by != slot or marker.at_ms >= started_ms:
        return marker
    if not -_BEAT_MS <= death.at_ms - marker.at_ms <= QUICK_MS:
        return marker
    deaths = marker.deaths + 1 if death.cause == marker.cause else 1
    return replace(marker, deaths=deaths, cause=death.cause)


class Caution:
    """One process's: told what it finds, asked whether to take records alone, and what to store with an offset."""

    def __init__(self, slot: str, death: Death | None, now_ms: Callable[[], int]) -> None:
        self._slot, self._death, self._now_ms = slot, death, now_ms
        self._started_ms = now_ms()
        self._left = _RECORDS if death is not None and death.counts else 0
        self._found: dict[TopicPartition, Marker] = {}
        self._ours: tuple[TopicPartition, Marker] | None = None
        self._made: dict[TopicPartition, Marker] = {}  # the last of each partition

    def found(self, source: TopicPartition, marker: Marker | None) -> None:
        """Note what was stored with the offset of a partition that we take over, or go back to."""
        self._found.pop(source, None)
        if marker is None:
            return
        self._left = _RECORDS
        if marker == self._made.get(source):
            self._found[source] = marker  # of this life, even where the clock was set back since it began
        else:
            self._found[source] = after(marker, self._death, self._slot, self._started_ms)

    def alone(self) -> bool:
        return self._left > 0

    def take(self, record: Record) -> None:
        """Mark a record; it is handled once the marker is stored."""
        known = self._found.get(record.source)
        blamed = known if known is not None and known.offset == record.offset else Marker(record.offset)
        ours = replace(blamed, by=self._slot, at_ms=self._now_ms())
        self._ours, self._made[record.source] = (record.source, ours), ours

    def done(self, source: TopicPartition, offset: int) -> None:
        """Note that a record is passed."""
        self._left = max(self._left - 1, 0)
        if self._ours is not None and self._ours[0] == source and self._ours[1].offset <= offset:
            self._ours = None
        if source in self._found and self._found[source].offset <= offset:
            del self._found[source]

    def marker(self, source: TopicPartition, offset: int) -> Marker | None:
        """Return what is to be stored with this offset."""
        if self._ours is not None and self._ours[0] == source and self._ours[1].offset == offset:
            return self._ours[1]
        known = self._found.get(source)  # not come to yet: it is not forgotten
        return known if known is not None and known.offset == offset else None

    def condemned(self, record: Record) -> PoisonError | None:
        """Return why a record must not be handled again."""
        known = self._found.get(record.source)
        if known is None or known.offset != record.offset or known.deaths < DEATHS:
            return None
        text = f"the process died {known.deaths} times with this record alone under way: {known.cause}"
        return PoisonError(text, code="KILLS_PROCESS")
