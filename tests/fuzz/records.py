"""Work items, dead letters, outcomes and marks, mutated in value and headers: each is read, refused or overlooked.

- a work item is asked for, or becomes a dead letter with its bytes untouched; no header lets it wait for long
- a dead letter becomes a row that has room in its table, and its replay a work item that a decoder reads
- an outcome is read, or is no outcome
- a mark beside an offset is read, or is none
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from indexer.abi.models import ModelSet
from indexer.caution import Caution, Death, Marker, read_marker
from indexer.chain.rules import rules_for
from indexer.checksum import sealed
from indexer.codec import (
    block_key,
    decode_any,
    decode_outcome,
    decode_work_item,
    encode_outcome,
    encode_rollback,
    encode_work_item,
    view,
)
from indexer.deadletter import REPLAY_COUNT, RUN_ID, dead_letter_headers, origin_of
from indexer.errors import NotYetError, PoisonError, TransientError
from indexer.inflight import Record
from indexer.limits import HIGHEST
from indexer.outputs import Headers, Output
from indexer.records import BlockWorkItem, Outcome, Reason, Rollback
from indexer.replay.items import Chosen, Fresh, fate_of
from indexer.topics import load_topics
from services.decoder.attempts import Attempts, due_ms, write_attempts
from services.decoder.handler import Decoder
from services.persister.coverage import bits_of
from services.persister.dlq_indexer import LetterHandler, _row
from tests.fuzz.mutations import changed_bytes
from tests.fuzz.rpc import CHAIN

TOPICS = load_topics()
PARTITIONS = 12
NOW = 1_800_000_000_000
_LONGEST_WAIT = 15 * 60_000
_ODD_VALUES = (
    None,
    b"",
    b"0",
    b"-1",
    b"9" * 18,
    b"9" * 40,
    b"1e3",
    b"\xff\xfe",
    "\u0661".encode(),
    b"\x00",
    b"a,b,c,d,e",
    b"f" * 8000,
    b"blocks.work.low," + b"f" * 8000 + b",0,17,0",
    b"f" * 250 + b",id,0,17,0",
)
_ERRORS = (TransientError("x"), NotYetError("x"), PoisonError("x", code="RPC_OTHER_HASH"))
_INT8, _INT4 = 1 << 63, 1 << 31
_INDEXED = ("origin_topic_id", "fingerprint")  # a page of an index holds three entries at least
_SMALL = ("origin_partition", "replay_count", "attempts")


class WrongError(Exception):
    """Something came of a record that must not."""


@dataclass(frozen=True, slots=True)
class RecordsFuzz:
    """Genuine records of every kind but decoded blocks, which tests.fuzz.avro mutates; `blocks`: their values."""

    blocks: list[bytes]
    decoder: Decoder = field(
        default_factory=lambda: Decoder(rules_for(CHAIN), ModelSet(), frozenset(), "full", TOPICS, PARTITIONS)
    )

    def judge(self, rng: random.Random) -> str:
        """Mutate a record and say what became of it; raises WrongError, or what nobody expects."""
        kinds: tuple[Callable[[random.Random], str], ...] = (self._work, self._letter, self._letter, outcome, mark)
        return rng.choice(kinds)(rng)

    def _work(self, rng: random.Random) -> str:
        record = changed(work_item(rng), rng)
        if due_ms(record) > record.timestamp_ms + _LONGEST_WAIT:
            raise WrongError("it would wait for long")
        try:
            task = self.decoder.read(record)
        except PoisonError as error:
            letter = self.decoder.unreadable(record, error, NOW)
            if (letter.topic, letter.key, letter.value) != (TOPICS.dlq, record.key, record.value):
                raise WrongError("the letter is another record") from None
            indexed(as_record(letter))
            return f"work item: {error.code}"
        for output in self.decoder.failed(task, rng.choice(_ERRORS), "fetch", NOW):
            if output.value != record.value:
                raise WrongError("what is tried again is another record")
            indexed(as_record(output))
        return "work item: asked for"

    def _letter(self, rng: random.Random) -> str:
        record = changed(self._dead(rng), rng)
        row = indexed(record)
        chosen = Chosen(0, 1, "open", row["chain_id"], row["number"], row["replay_count"], record)
        fate = fate_of(chosen, Fresh(), 3, CHAIN, TOPICS, PARTITIONS)
        shown(record.value or b"")
        if fate.output is None:
            return f"letter: {fate.outcome}"
        again = as_record(fate.output)
        if [name for name, _ in again.headers].count(REPLAY_COUNT) != 1 or due_ms(again):
            raise WrongError("the replay's headers")
        if self.decoder.read(again).item != decode_work_item(again.value or b""):
            raise WrongError("the replay's item")
        return "letter: replayed"

    def _dead(self, rng: random.Random) -> Record:
        value = rng.choice(
            (work_item(rng).value or b"", rng.choice(self.blocks), encode_rollback(Rollback(CHAIN, 5, 2)))
        )
        record = Record(TOPICS.decoded, 3, 17, block_key(CHAIN, 7), value, sealed((), value), NOW)
        codes = ("NOT_AVRO", "CHECKSUM_MISMATCH", "RECORD_NOT_GENUINE", "ROW_REFUSED")
        headers = dead_letter_headers(
            record,
            PoisonError("block 7 is \x00 not", code=rng.choice(codes)),
            service="persister",
            stage="deserialize",
            attempts=1,
            origin=origin_of(record, "id-1"),
            first_failed_ms=NOW,
            last_failed_ms=NOW,
        )
        carried = ((RUN_ID, b"5"), (REPLAY_COUNT, b"2")) if rng.random() < 0.3 else ()
        return Record(TOPICS.dlq, 3, 1, record.key, value, (*headers, *carried), NOW)


def work_item(rng: random.Random) -> Record:
    """A work item as it lies on its topic, or on a retry tier."""
    item = BlockWorkItem(
        CHAIN, rng.randrange(1 << 30), 3, rng.choice((None, b"\x07" * 32)), 12, rng.choice(list(Reason))
    )
    topic = rng.choice((*TOPICS.work, *TOPICS.retry))
    record = Record(topic, 3, 17, block_key(CHAIN, item.number), encode_work_item(item), (("trace", b"x"),), NOW)
    attempts = Attempts(origin_of(record, "id-1"), rng.randrange(4), NOW)
    headers = write_attempts(record, attempts, NOW + 5000) if topic in TOPICS.retry else record.headers
    return Record(topic, 3, 17, record.key, record.value, headers, NOW)


def outcome(rng: random.Random) -> str:
    told = Outcome("decoder", "a:1", CHAIN, "commit", 3, 1, 9, 9, NOW, 5, 6, 7, {"NOT_AVRO": 1}, {"fetch": 0.5})
    value = changed_bytes(encode_outcome(told), rng)
    shown(value)
    try:
        decode_outcome(value)
    except PoisonError as error:
        return f"outcome: {error.code}"
    return "outcome: read"


def mark(rng: random.Random) -> str:
    """What is stored beside an offset while a record is under way alone."""
    text = Marker(17, 2, "killed", "decoder-0", NOW).text()
    if rng.random() < 0.5:
        told = json.loads(text)
        told[rng.choice(list(told))] = rng.choice((None, -1, "x", 1.5, [], {}, True, 1 << 70))
        text = json.dumps(told)
    else:
        text = changed_bytes(text.encode(), rng).decode(errors="replace")
    record = work_item(rng)
    careful = Caution("decoder-0", Death("killed", NOW), lambda: NOW + 1)
    careful.found(record.source, read_marker(text))
    condemned = careful.condemned(record)
    careful.take(record)
    marker = careful.marker(record.source, record.offset)
    if marker is None or read_marker(marker.text()) != marker:
        raise WrongError("the next mark cannot be read")
    return "mark: condemned" if condemned else "mark: read"


def changed(record: Record, rng: random.Random) -> Record:
    """Change its value, its headers, or both."""
    what = rng.randrange(3)
    value = record.value or b""
    return Record(
        record.topic,
        record.partition,
        record.offset,
        rng.choice((record.key, record.key, None, b"43114:" + b"9" * 15, b"\xff")),
        rng.choice((None, b"", value)) if rng.random() < 0.02 else changed_bytes(value, rng) if what else value,
        changed_headers(record.headers, rng) if what != 1 else record.headers,
        record.timestamp_ms,
    )


def changed_headers(headers: Headers, rng: random.Random) -> Headers:
    """Change, drop, double, rename or move headers, once or a few times."""
    found = list(headers)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not found:
            break
        at, how = rng.randrange(len(found)), rng.randrange(6)
        name, value = found[at]
        if how == 0:
            found[at] = (name, changed_bytes(value or b"", rng))
        elif how == 1:
            found[at] = (name, rng.choice(_ODD_VALUES))
        elif how == 2:
            del found[at]
        elif how == 3:
            found.insert(rng.randrange(len(found) + 1), (name, rng.choice((value, *_ODD_VALUES))))
        elif how == 4:
            found[at] = (rng.choice((name[:-1], name + "\x00", "", "x-unreadable-headers")), value)
        else:
            found.append(found.pop(at))
    return tuple(found)


def indexed(record: Record) -> dict[str, Any]:
    """The row of a letter, or of any record that somebody puts on its topic; raises WrongError."""
    handler = LetterHandler(CHAIN, lambda topic: "id-2")
    handler.submit([record])
    (handled,) = handler.completed(0)
    row = _row(handled.result, CHAIN)
    for name, value in row.items():
        most = _INT4 if name in _SMALL else _INT8
        if isinstance(value, int) and not -most <= value < most:
            raise WrongError(f"{name} has no room for {value}")
        if isinstance(value, str) and b"\x00" in value.encode():
            raise WrongError(f"{name} has no room for {value!r}")
        if isinstance(value, str) and len(value.encode()) > (64 if name in _INDEXED else 1024):
            raise WrongError(f"{name} has no room for {len(value)} letters")
    if "\\u0000" in json.dumps(row["record_headers"].obj):
        raise WrongError("jsonb has no room for the headers")
    number = row["number"]
    if number is not None:
        if not 0 <= number < HIGHEST:
            raise WrongError(f"a letter of block {number}")
        bits_of([(number, row["job_id"] or 0)])
    return row


def shown(value: bytes) -> None:
    """What `indexer dlq show` makes of it."""
    try:
        json.dumps(view.to_json(decode_any(value)))
    except PoisonError:
        return


def as_record(output: Output) -> Record:
    return Record(output.topic, output.partition, 1, output.key, output.value, output.headers, NOW)
