"""Dead letters as the DLQ indexer stores them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg.types.json import Jsonb

from indexer.codec import block_key, encode_work_item
from indexer.deadletter import Origin, dead_letter_headers, fingerprint
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.records import BlockWorkItem
from indexer.settings import Settings
from indexer.storage.jobs import Connection

ROOT = "RECEIPTS_ROOT_MISMATCH"


def put_letters(connection: Connection, settings: Settings, numbers: Iterable[int], **fields: Any) -> list[int]:
    """Insert a decoder's letter for each block; its offset on the topic is the block's number."""
    return [put_letter(connection, settings, number, **fields) for number in numbers]


def put_letter(connection: Connection, settings: Settings, number: int, **fields: Any) -> int:
    code, service = fields.pop("code", ROOT), fields.pop("service", "decoder")
    replays, topic = fields.pop("replay_count", 0), fields.pop("topic", "blocks.work.low")
    item = BlockWorkItem(settings.chain_id, number, **{"job_id": 1, **fields.pop("item", {})})
    value = fields.pop("value", None) or encode_work_item(item)
    record = Record(
        settings.topic_prefix + topic,
        3,
        number,
        block_key(settings.chain_id, number),
        value,
        (("trace", b"abc"), ("x-dlq-replay-count", b"%d" % replays)),
        1_700_000_000_000,
    )
    message = f"block {number}: {code.lower()}"
    headers = dead_letter_headers(
        record,
        PoisonError(message, code=code),
        service=service,
        stage="verify",
        attempts=1,
        origin=Origin(record.topic, "topic-id", 3, number, record.timestamp_ms),
        first_failed_ms=1,
        last_failed_ms=2,
    )
    row = {
        "chain_id": settings.chain_id,
        "origin_topic": record.topic,
        "origin_topic_id": "topic-id",
        "origin_partition": 3,
        "origin_offset": number,
        "replay_count": replays,
        "block_number": number,
        "job_id": 1,
        "state": "open",
        "service": service,
        "stage": "verify",
        "code": code,
        "error_class": "PoisonError",
        "message": message,
        "fingerprint": fingerprint(service, "verify", code, "PoisonError", message),
        "attempts": 1,
        "record_key": record.key,
        "record_value": value,
        "record_headers": Jsonb([[name, None if text is None else text.hex()] for name, text in headers]),
        **fields,
    }
    found = connection.execute(_INSERT, row).fetchone()
    assert found is not None
    return int(found[0])


def states(connection: Connection) -> dict[str, int]:
    """How many letters are in each state."""
    return dict(connection.execute("SELECT state, count(*) FROM dead_letters GROUP BY state").fetchall())


_INSERT = """
    INSERT INTO dead_letters (chain_id, origin_topic, origin_topic_id, origin_partition, origin_offset, replay_count,
        block_number, job_id, state, service, stage, code, error_class, message, fingerprint, attempts, record_key,
        record_value, record_headers)
    VALUES (%(chain_id)s, %(origin_topic)s, %(origin_topic_id)s, %(origin_partition)s, %(origin_offset)s,
        %(replay_count)s, %(block_number)s, %(job_id)s, %(state)s, %(service)s, %(stage)s, %(code)s, %(error_class)s,
        %(message)s, %(fingerprint)s, %(attempts)s, %(record_key)s, %(record_value)s, %(record_headers)s)
    RETURNING id
"""
