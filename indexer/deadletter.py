"""A dead letter's headers, written and read: what failed, where the record began, and why (DESIGN 6).

Key, value and the record's own headers stay byte for byte; `x-dlq-*` and KIP-1034's `__streams.errors.*` are added,
and replace those that a replayed record brought along.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from indexer.checksum import is_sealed
from indexer.errors import IndexerError, PoisonError
from indexer.inflight import Record

SCHEMA = "1"
PREFIX = "x-dlq-"
STREAMS_PREFIX = "__streams.errors."
REPLAY_COUNT = PREFIX + "replay-count"  # a replayed work item carries it, and the run's id
RUN_ID = PREFIX + "run-id"
ORIGIN = "x-retry-origin"  # where a work item began that is tried again, or replayed
_MESSAGE_BYTES = 1024
_RUN_ID_BYTES = 64
_MOST_COUNTED = 1_000_000_000  # attempts or replays: nobody comes to more, and it fits PostgreSQL's integer
_MOST_PARTITIONS = 1 << 31
_CODE = PREFIX + "error-code"
_ALTERED = ("CHECKSUM_MISMATCH", "RECORD_NOT_GENUINE")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # Kafka's rule for names
_TOPIC_ID = re.compile(r"[ -+\--~]{0,64}")  # without a comma; Kafka's are 22 letters; empty where it is not known
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/@'\"]*@)?([^\s/?#'\")]+)([/?#][^\s'\")]*)?")
_SECRET = re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key|authorization)(\s*[=:]\s*)\S+")

Headers = Iterable[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the record began: for a decoder's letter the work topic, not a retry tier."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True)
class Letter:
    """What the headers of a dead letter say; times are Unix milliseconds, 0 where unknown."""

    origin: Origin
    service: str
    stage: str
    code: str
    error_class: str
    message: str
    fingerprint: str
    attempts: int = 1
    first_failed_ms: int = 0
    last_failed_ms: int = 0
    replay_count: int = 0
    run_id: str = ""
    build: str = ""


def origin_of(record: Record, topic_id: str) -> Origin:
    """Return the record itself as the place where it began."""
    return Origin(record.topic, topic_id, record.partition, record.offset, record.timestamp_ms)


def write_origin(o: Origin) -> bytes:
    """Return an origin as a header's value."""
    return ",".join((o.topic, o.topic_id, str(o.partition), str(o.offset), str(o.timestamp_ms))).encode()


def read_origin(value: bytes | None) -> Origin | None:
    """Return the origin that a header's value names, None where it names no place that Kafka can have."""
    match _text(value).split(","):
        case [topic, topic_id, partition, offset, timestamp]:
            return _place(topic, topic_id, partition, offset, timestamp)
        case _:
            return None


def dead_letter_headers(
    record: Record,
    error: Exception,
    *,
    service: str,
    stage: str,
    attempts: int,
    origin: Origin,
    first_failed_ms: int,
    last_failed_ms: int,
    build: str = "",
) -> list[tuple[str, bytes | None]]:
    """Return all headers of the letter for `record`: its own in their order, then ours.

    Replay count and run id are taken from the record. The message is cut at 1 KiB and contains no secret.
    """
    carried = dict(record.headers)
    code = error.code if isinstance(error, IndexerError) else type(error).__name__
    message = cut(without_secrets(str(error)))
    ours = {
        "schema": SCHEMA,
        "origin-topic": origin.topic,
        "origin-topic-id": origin.topic_id,
        "origin-partition": str(origin.partition),
        "origin-offset": str(origin.offset),
        "origin-timestamp": str(origin.timestamp_ms),
        "service": service,
        "stage": stage,
        "error-code": code,
        "error-class": type(error).__name__,
        "error-message": message,
        "fingerprint": fingerprint(service, stage, code, type(error).__name__, message),
        "attempts": str(attempts),
        "first-failed-at": str(first_failed_ms),
        "last-failed-at": str(last_failed_ms),
        "replay-count": str(_replays(_text(carried.get(REPLAY_COUNT)))),
        "run-id": cut(_text(carried.get(RUN_ID)), _RUN_ID_BYTES),
        "build": build,
    }
    streams = {
        "exception": type(error).__name__,
        "message": message,
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
    }
    return [
        *own_headers(record.headers),
        *((PREFIX + name, value.encode()) for name, value in ours.items()),
        *((STREAMS_PREFIX + name, value.encode()) for name, value in streams.items()),
    ]


def read_letter(record: Record, topic_id: str) -> Letter:
    """Return what a record on the dead-letter topic says of itself; never raises.

    A record without our headers (somebody else wrote it) is a letter too: it began where it lies, its code is UNKNOWN.
    So does one whose origin is no place that Kafka can have. A fingerprint that is none of ours is made anew.
    """
    found = {name[len(PREFIX) :]: _text(value) for name, value in record.headers if name.startswith(PREFIX)}
    place = (found.get("origin-" + name, "") for name in ("topic", "topic-id", "partition", "offset", "timestamp"))
    origin = _place(*place) or origin_of(record, topic_id)
    message = found.get("error-message") or "a record without x-dlq-* headers"
    code, kind = found.get("error-code") or "UNKNOWN", found.get("error-class") or "Unknown"
    service, stage = found.get("service") or "unknown", found.get("stage") or "unknown"
    told = found.get("fingerprint", "")
    return Letter(
        origin=origin,
        service=service,
        stage=stage,
        code=code,
        error_class=kind,
        message=message,
        fingerprint=told if _FINGERPRINT.fullmatch(told) else fingerprint(service, stage, code, kind, message),
        attempts=min(_digits(found.get("attempts"), 1), _MOST_COUNTED),
        first_failed_ms=_digits(found.get("first-failed-at")),
        last_failed_ms=_digits(found.get("last-failed-at")),
        replay_count=_replays(found.get("replay-count")),
        run_id=found.get("run-id", ""),
        build=found.get("build", ""),
    )


def is_altered(record: Record) -> bool:
    """Tell whether nothing in a letter's value is to be believed: its code says so, or its checksum differs."""
    try:
        is_sealed(record)
    except PoisonError:
        return True
    return any(name == _CODE and _text(value) in _ALTERED for name, value in record.headers)


def own_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """Return a record's own headers, without those that make it a dead letter."""
    return [(name, value) for name, value in headers if not name.startswith((PREFIX, STREAMS_PREFIX))]


def fingerprint(service: str, stage: str, code: str, error_class: str, message: str) -> str:
    """Return the same 16 hex digits for failures that differ only in numbers and hashes."""
    normal = re.sub(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{16,}|\d+", "#", message)
    return hashlib.sha256("\0".join((service, stage, code, error_class, normal)).encode()).hexdigest()[:16]


def without_secrets(text: str) -> str:
    """Return `text` with URLs cut to scheme, host and port, and the values of passwords, keys and tokens gone."""
    return _SECRET.sub(r"\1\2…", _URL.sub(_host, text))


def cut(text: str, most: int = _MESSAGE_BYTES) -> str:
    """Return `text` cut to `most` bytes of UTF-8, never inside a character."""
    data = text.encode(errors="replace")
    return text if len(data) <= most else data[: most - 3].decode(errors="ignore") + "…"


def _host(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2]}{'/…' if match[3] and match[3] != '/' else match[3] or ''}"


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode(errors="replace")


def _place(topic: str, topic_id: str, partition: str, offset: str, timestamp: str) -> Origin | None:
    known = Origin(topic, topic_id, _digits(partition, -1), _digits(offset, -1), _digits(timestamp))
    named = _TOPIC.fullmatch(topic) and _TOPIC_ID.fullmatch(topic_id)
    return known if named and 0 <= known.partition < _MOST_PARTITIONS and known.offset >= 0 else None


def _replays(text: str | None) -> int:
    count = _digits(text)
    return count if count <= _MOST_COUNTED else 0  # the next one is told from this one by its count


def _digits(text: str | None, default: int = 0) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else default
