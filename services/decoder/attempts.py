"""What a work item carries in its headers while it is tried again: how often, since when, from where, when next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexer.deadletter import ORIGIN, Origin, origin_of, read_origin, write_origin
from indexer.inflight import Record
from indexer.outputs import Headers
from indexer.topics import RETRY, Topics

JITTER = 0.2  # of a tier's delay, at most, on top of it
PREFIX = "x-retry-"
_ATTEMPTS = PREFIX + "attempts"
_DUE = PREFIX + "due"
_FIRST = PREFIX + "first-failed-at"
_LONGEST_WAIT_MS = 15 * 60_000  # more than any tier's delay: a header that somebody altered holds nothing up for good


@dataclass(frozen=True, slots=True)
class Attempts:
    """The history of a work item; times are Unix milliseconds."""

    origin: Origin  # the work topic where it began
    failed: int = 0  # attempts that count
    first_failed_ms: int = 0


def read_attempts(record: Record, topic_ids: Mapping[str, str]) -> Attempts:
    """Return a record's history; one without ours begins where it lies."""
    found = dict(record.headers)
    origin = read_origin(found.get(ORIGIN)) or origin_of(record, topic_ids.get(record.topic, ""))
    return Attempts(origin, _number(found.get(_ATTEMPTS)), _number(found.get(_FIRST)))


def write_attempts(record: Record, attempts: Attempts, due_ms: int) -> Headers:
    """Return the headers of the record that is tried again: its own, and the new history."""
    return (
        *own_headers(record),
        (_ATTEMPTS, b"%d" % attempts.failed),
        (_DUE, b"%d" % due_ms),
        (_FIRST, b"%d" % attempts.first_failed_ms),
        (ORIGIN, write_origin(attempts.origin)),
    )


def own_headers(record: Record) -> Headers:
    """Return a record's headers as they were on the work topic."""
    return tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))


def due_ms(record: Record) -> int:
    """Return the time before which a record is not to be tried; 0 where it says nothing.

    Never later than 15 minutes after the record was written, as far as that is known.
    """
    due = _number(next((value for name, value in record.headers if name == _DUE), None))
    return min(due, record.timestamp_ms + _LONGEST_WAIT_MS) if record.timestamp_ms > 0 else due


def longest_waits(topics: Topics) -> dict[str, float]:
    """Return how many seconds a record of each tier waits at most, by topic."""
    return {topics.name(role): topics[role].delay * (1 + JITTER) for role in RETRY}


def _number(value: bytes | None) -> int:
    return _digits((value or b"").decode(errors="replace"))


def _digits(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
