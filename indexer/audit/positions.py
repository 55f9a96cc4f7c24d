"""Stored offsets against Kafka's logs: what retention took, and what a restore turned back; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from indexer.audit.findings import Findings, Kind

_AGAIN = "its consumer goes on at the oldest record by itself; what is missing then, `indexer repair` asks for again"


@dataclass(frozen=True, slots=True)
class Position:
    """One row of consumer_progress."""

    group: str
    topic: str
    partition: int
    topic_id: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class Log:
    """One partition's log in Kafka: `start` is its oldest record, `end` comes after its newest."""

    topic_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """What one deployment calls its own in Kafka; several may store into one database."""

    groups: Collection[str]
    topics: Collection[str]

    def has(self, position: Position) -> bool:
        return position.group in self.groups and position.topic in self.topics


def compare(positions: Iterable[Position], logs: Mapping[tuple[str, int], Log], findings: Findings) -> int:
    """Note positions that do not fit the logs; return how many were looked at.

    - no such partition: the topic was deleted
    - another topic id: it was deleted and made again
    - below the start: retention, or somebody, took records that were not read
    - above the end: Kafka or the topic was restored, or the database is of another cluster
    """
    count = 0
    for each in positions:
        count += 1
        if problem := _problem(each, logs.get((each.topic, each.partition))):
            findings.note(Kind.POSITION, f"{each.group}, {each.topic}[{each.partition}]: {problem}")
    return count


def unread(positions: Iterable[Position], logs: Mapping[tuple[str, int], Log]) -> int:
    """Return how many offsets of the logs the consumers have not come to yet."""
    at = ((logs.get((each.topic, each.partition)), each.next_offset) for each in positions)
    return sum(max(log.end - max(offset, log.start), 0) for log, offset in at if log is not None)


def _problem(at: Position, log: Log | None) -> str | None:
    if log is None:
        return "the topic is gone: `indexer topics apply` makes it, `indexer db forget-offsets TOPIC` begins it"
    if at.topic_id and log.topic_id != at.topic_id:
        return "the topic was deleted and made again: `indexer db forget-offsets TOPIC` begins at its first record"
    if at.next_offset < log.start and (at.next_offset > 0 or log.start < log.end):
        return f"offset {at.next_offset} is gone, the log begins at {log.start}: {_AGAIN}"
    if at.next_offset > log.end:
        return (
            f"offset {at.next_offset} is beyond the log's end, {log.end}: topic or database was restored. Stop the"
            " persisters and run `indexer db forget-offsets TOPIC` before new records reach that offset"
        )
    return None
