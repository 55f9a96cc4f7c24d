"""A dead letter as people and programs read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from indexer import codec, error_codes
from indexer.codec.view import to_json
from indexer.errors import PoisonError

Row = dict[str, Any]

_BODY_LINES = 60
_HEADER_LETTERS = 1100  # a message of ours has room
_COLUMNS = (
    "id",
    "state",
    "block_number",
    "job_id",
    "service",
    "stage",
    "code",
    "error_class",
    "message",
    "fingerprint",
    "attempts",
    "replay_count",
    "run_id",
    "origin_topic",
    "origin_partition",
    "origin_offset",
    "first_failed_at",
    "last_failed_at",
    "indexed_at",
    "replayed_at",
)


def facts(row: Row) -> Row:
    """Return what `dlq show --json` prints."""
    return {
        **{name: row[name] for name in _COLUMNS},
        "hint": error_codes.hint(row["code"]),
        "key": _text(row["record_key"]),
        "headers": [
            [name, None if value is None else _text(bytes.fromhex(value))] for name, value in row["record_headers"]
        ],
        "body": _body(row["record_value"]),
    }


def lines(shown: Row) -> Iterator[str]:
    """Yield what `dlq show` prints."""
    block = "no block known" if shown["block_number"] is None else f"block {shown['block_number']}"
    yield f"letter {shown['id']}, {shown['state']}: {block}, {shown['code']} in {shown['service']}/{shown['stage']}"
    yield shown["message"]
    yield f"hint: {shown['hint']}"
    yield ""
    for name in ("job_id", "attempts", "replay_count", "run_id", "first_failed_at", "last_failed_at", "fingerprint"):
        if shown[name] is not None:
            yield f"{name:<16} {shown[name]}"
    yield f"{'origin':<16} {shown['origin_topic']}[{shown['origin_partition']}]@{shown['origin_offset']}"
    yield f"{'key':<16} {_begin(shown['key'])}"
    yield ""
    yield "headers"
    yield from (f"  {_begin(name)}: {_begin(value)}" for name, value in shown["headers"])
    yield ""
    yield "body"
    body = json.dumps(shown["body"], indent=2).splitlines()
    yield from (f"  {line}" for line in body[:_BODY_LINES])
    if len(body) > _BODY_LINES:
        yield f"  … {len(body) - _BODY_LINES:,} more lines: `indexer dlq show {shown['id']} --json` prints all"


def exported(row: Row) -> Row:
    """Return what `dlq export` writes: nothing is lost of the record."""
    record = {name: None if row[name] is None else bytes(row[name]).hex() for name in ("record_key", "record_value")}
    return {**row, **record}


def _body(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        found = codec.decode_any(bytes(value))
    except PoisonError as error:
        shown = bytes(value[:64]).hex()
        return {"unreadable": str(error), "bytes": len(value), "begins": f"0x{shown}"}
    return {"record": type(found).__name__, **to_json(found)}


def _begin(text: str | None) -> str | None:
    if text is None or len(text) <= _HEADER_LETTERS:
        return text
    return f"{text[:_HEADER_LETTERS]}… ({len(text):,} characters; --json prints all)"


def _text(value: bytes | None) -> str | None:
    """Return bytes as text where they are text, else as hex."""
    if value is None:
        return None
    try:
        text = bytes(value).decode()
    except UnicodeDecodeError:
        return "0x" + bytes(value).hex()
    return text if text.isprintable() else "0x" + bytes(value).hex()
