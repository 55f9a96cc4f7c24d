"""The DLQ indexer: letters on `blocks.dlq` become rows of `dead_letters` and the jobs' dead bits, each once.

It is a second consumer of the persister with a group of its own; its offsets live in PostgreSQL too. Stored beats
dead: a height that is stored gets no dead bit, and its letter is resolved at once (but for repairs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg.types.json import Jsonb

from indexer.codec import decode_record, decode_work_item
from indexer.deadletter import Letter, cut, is_altered, read_letter
from indexer.errors import FatalError, PoisonError
from indexer.inflight import Record, TopicPartition
from indexer.limits import HIGHEST
from indexer.pipeline import Handled
from indexer.records import BlockWorkItem, DecodedBlock, Reason, Rollback
from indexer.storage.engine import Connection
from services.persister import sql
from services.persister.coverage import EVERY_JOB, bits_of
from services.persister.store import Partitions

_ROOM = 64
_NAME_BYTES = 128  # of a service, a stage, a code, a class


@dataclass(frozen=True, slots=True)
class Subject:
    """What a letter is about, as far as its bytes tell; a record of another chain is about nothing of ours."""

    number: int | None = None
    job_id: int | None = None
    generation: int = 0
    repair: bool = False
    readable: bool = False


@dataclass(frozen=True, slots=True)
class DeadRecord:
    record: Record
    letter: Letter
    subject: Subject


def subject_of(record: Record, chain_id: int) -> Subject:
    """Return what `record` is about: from its value, from its key where the value cannot be read or was altered."""
    if is_altered(record):
        return _from_key(record.key or b"", chain_id)
    value = record.value or b""
    try:
        found: BlockWorkItem | DecodedBlock | Rollback = decode_work_item(value)
    except PoisonError:
        try:
            found = decode_record(value)
        except PoisonError:
            return _from_key(record.key or b"", chain_id)
    if found.chain_id != chain_id or isinstance(found, Rollback):
        return Subject(readable=True)
    number = found.number if isinstance(found, BlockWorkItem) else found.header.number
    return Subject(_possible(number), found.job_id, found.generation, found.reason is Reason.REPAIR, readable=True)


class LetterHandler:
    """The pipeline's Handler for the dead-letter topic."""

    def __init__(self, chain_id: int, topic_id: Callable[[str], str]) -> None:
        self._chain_id, self._topic_id = chain_id, topic_id
        self._pending: list[Record] = []

    def submit(self, records: Sequence[Record]) -> None:
        self._pending += records

    def completed(self, timeout: float) -> list[Handled[DeadRecord]]:
        pending, self._pending = self._pending, []
        return [
            Handled(
                record.source,
                record.offset,
                DeadRecord(
                    record,
                    read_letter(record, self._topic_id(record.topic)),
                    subject_of(record, self._chain_id),
                ),
                len(record.value or b""),
            )
            for record in pending
        ]

    def room(self) -> int:
        return _ROOM - len(self._pending)

    def forget(self, sources: Collection[TopicPartition]) -> None:
        self._pending = [record for record in self._pending if record.source not in set(sources)]

    def close(self) -> None:
        self._pending = []


class LetterWriter:
    """The sink's Writer for the dead-letter topic."""

    def __init__(self, chain_id: int, partitions: Partitions) -> None:
        self._chain_id, self._partitions = chain_id, partitions

    def connected(self) -> None:
        self._partitions.forget()

    def prepare(self, handled: Sequence[Handled[DeadRecord]]) -> None:
        subjects = [each.result.subject for each in handled]
        self._partitions({s.number for s in subjects if s.number is not None})

    def set_aside(self, handled: Handled[DeadRecord], error: PoisonError) -> Handled[DeadRecord]:
        raise FatalError(f"a letter cannot be stored, and has nowhere else to go: {error}", code="LETTER_REFUSED")

    def write(self, connection: Connection, handled: Sequence[Handled[DeadRecord]]) -> None:
        """Heights first, letters next, bits last: the order in which a stored block does it."""
        for each in sorted(handled, key=lambda each: each.result.subject.number or 0):
            self._index(connection, each.result)

    def _index(self, connection: Connection, dead: DeadRecord) -> None:
        subject, row = dead.subject, _row(dead, self._chain_id)
        if connection.execute(_KNOWN, row).fetchone() is not None:
            return
        stored = False
        if subject.number is not None:
            stored = connection.execute(_NOTE_DEAD, row).rowcount == 0
        row["state"] = "resolved" if stored and not subject.repair else "open"
        if connection.execute(_INSERT, row).rowcount == 0:
            return
        if dead.letter.replay_count:
            connection.execute(_SUPERSEDE, row)
        if subject.number is None:
            return
        if row["state"] == "resolved":  # a job that came after the block was stored does not know of it yet
            bits = bits_of([(subject.number, EVERY_JOB)])
            connection.execute(sql.COVER, row | {"stripes": bits.stripes, "jobs": bits.jobs, "masks": bits.masks})
            return
        job = subject.job_id if subject.readable else EVERY_JOB
        if job is not None:
            bits = bits_of([(subject.number, job)])
            connection.execute(_DIE, row | {"stripes": bits.stripes, "jobs": bits.jobs, "masks": bits.masks})


def _possible(number: int) -> int | None:
    return number if 0 <= number < HIGHEST else None


def _from_key(key: bytes, chain_id: int) -> Subject:
    match = re.fullmatch(rb"(\d{1,18}):(\d{1,15})", key)
    return Subject(_possible(int(match[2]))) if match and int(match[1]) == chain_id else Subject()


def _row(dead: DeadRecord, chain_id: int) -> dict[str, object]:
    """Return the letter's row; `chain_id` is the deployment's on whose topic it lies, whatever the record says."""
    letter, subject, record = dead.letter, dead.subject, dead.record
    return {
        "chain_id": chain_id,
        "origin_topic": letter.origin.topic,
        "origin_topic_id": letter.origin.topic_id,
        "origin_partition": letter.origin.partition,
        "origin_offset": letter.origin.offset,
        "replay_count": letter.replay_count,
        "number": subject.number,
        "job_id": subject.job_id,
        "generation": subject.generation,
        "run_id": int(letter.run_id) if re.fullmatch(r"[0-9]{1,15}", letter.run_id) else None,
        "service": _short(letter.service),
        "stage": _short(letter.stage),
        "code": _short(letter.code),
        "error_class": _short(letter.error_class),
        "message": cut(_text(letter.message)),
        "fingerprint": letter.fingerprint,
        "attempts": letter.attempts,
        "first_failed_at": _time(letter.first_failed_ms),
        "last_failed_at": _time(letter.last_failed_ms),
        "record_key": record.key,
        "record_value": record.value,
        "record_headers": Jsonb(
            [[_text(name), None if value is None else value.hex()] for name, value in record.headers]
        ),
    }


def _text(value: str) -> str:
    return value.replace("\x00", "\ufffd")  # PostgreSQL has no room for it


def _short(name: str) -> str:
    return cut(_text(name), _NAME_BYTES)


def _time(milliseconds: int) -> datetime | None:
    if not 0 < milliseconds < 32_503_680_000_000:  # the year 3000
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


_KNOWN = """
    SELECT 1 FROM dead_letters WHERE origin_topic_id = %(origin_topic_id)s AND origin_partition = %(origin_partition)s
      AND origin_offset = %(origin_offset)s AND replay_count = %(replay_count)s
"""

_NOTE_DEAD = """
    INSERT INTO block_processing AS p (chain_id, block_number, status, job_id, generation, attempts, code)
    VALUES (%(chain_id)s, %(number)s, 'dead', %(job_id)s, %(generation)s, %(attempts)s, %(code)s)
    ON CONFLICT (chain_id, block_number) DO UPDATE
    SET attempts = least(p.attempts::bigint + excluded.attempts, 1000000000), code = excluded.code,
        job_id = excluded.job_id, updated_at = now()
    WHERE p.status <> 'stored'
"""

_INSERT = """
    INSERT INTO dead_letters (
        chain_id, origin_topic, origin_topic_id, origin_partition, origin_offset, replay_count, block_number, job_id,
        state, service, stage, code, error_class, message, fingerprint, attempts, first_failed_at, last_failed_at,
        record_key, record_value, record_headers, run_id)
    VALUES (
        %(chain_id)s, %(origin_topic)s, %(origin_topic_id)s, %(origin_partition)s, %(origin_offset)s, %(replay_count)s,
        %(number)s, %(job_id)s, %(state)s, %(service)s, %(stage)s, %(code)s, %(error_class)s, %(message)s,
        %(fingerprint)s, %(attempts)s, %(first_failed_at)s, %(last_failed_at)s, %(record_key)s, %(record_value)s,
        %(record_headers)s, %(run_id)s)
    ON CONFLICT (origin_topic_id, origin_partition, origin_offset, replay_count) DO NOTHING
"""

# What was replayed has an outcome: this newer letter. One that began on `blocks.decoded` begins elsewhere this time,
# so that it is known by its run.
_SUPERSEDE = """
    UPDATE dead_letters SET state = 'superseded'
    WHERE state IN ('open', 'replayed', 'quarantined') AND (
        origin_topic_id = %(origin_topic_id)s AND origin_partition = %(origin_partition)s
            AND origin_offset = %(origin_offset)s AND replay_count < %(replay_count)s
        OR replay_count < %(replay_count)s AND block_number = %(number)s AND chain_id = %(chain_id)s
            AND id IN (SELECT letter_id FROM replay_items WHERE run_id = %(run_id)s))
"""

# Stored beats dead, bit by bit, under the row's lock.
_DIE = """
    UPDATE job_coverage c SET dead = c.dead | (x.mask & c.wanted & ~c.stored)
    FROM (
        SELECT w.job_id, w.stripe, bit_or(a.mask::bit(64)) AS mask
        FROM unnest(%(stripes)s::bigint[], %(jobs)s::bigint[], %(masks)s::bigint[]) AS a (stripe, job, mask)
        JOIN job_coverage w ON w.chain_id = %(chain_id)s AND w.stripe = a.stripe AND (a.job = w.job_id OR a.job = -1)
        GROUP BY w.job_id, w.stripe
    ) AS x
    WHERE c.job_id = x.job_id AND c.stripe = x.stripe
"""
