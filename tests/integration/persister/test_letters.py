"""The DLQ indexer on a real PostgreSQL: each letter once, stored beats dead."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from indexer.abi.models import ModelSet
from indexer.chain.rules import rules_for
from indexer.codec import block_key, encode_block, encode_rollback, encode_work_item
from indexer.deadletter import ORIGIN, Origin, dead_letter_headers
from indexer.errors import FatalError, PoisonError
from indexer.inflight import Record, TopicPartition
from indexer.records import BlockWorkItem, Reason, Rollback
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.topics import load_topics
from services.decoder.handler import Decoder
from services.persister.connections import PartitionKeeper, RowConnections
from services.persister.dlq_indexer import DeadRecord, LetterHandler, LetterWriter, subject_of
from services.persister.progress import Progress
from services.persister.sink import OffsetsSink
from tests.integration.persister.harness import Persister, bits, rows
from tests.support.blocks import CHAIN, BlockMaker
from tests.support.command_line import Command

pytestmark = pytest.mark.integration
DLQ = TopicPartition("blocks.dlq", 0)
make = BlockMaker()


class Indexer:
    """A DLQ indexer to which a test hands records."""

    def __init__(self, settings: Settings) -> None:
        self.writer = LetterWriter(settings.chain_id, PartitionKeeper(settings))
        self.handler = LetterHandler(settings.chain_id, lambda topic: "id-dlq")
        progress = Progress("persister-dlq", lambda topics: dict.fromkeys(topics, "id-dlq"))
        self.sink: OffsetsSink[DeadRecord] = OffsetsSink(
            RowConnections(settings), progress, self.writer, lambda handled, offsets: None
        )
        self.sink.assigned({DLQ})
        self._next = 0

    def index(self, *records: Record) -> None:
        placed = [
            Record(DLQ.topic, 0, self._next + i, r.key, r.value, r.headers, r.timestamp_ms)
            for i, r in enumerate(records)
        ]
        self._next += len(placed)
        self.handler.submit(placed)
        self.sink.write(self.handler.completed(0), {DLQ: self._next})


@pytest.fixture
def indexer(settings: Settings) -> Iterator[Indexer]:
    made = Indexer(settings)
    yield made
    made.sink.close()


def letter(
    value: bytes, *, offset: int = 5, replay: int = 0, run: int = 0, key: bytes = b"43114:7", code: str = "BAD_ROOT"
) -> Record:
    carried = (("x-dlq-replay-count", b"%d" % replay), ("x-dlq-run-id", b"%d" % run if run else b""))
    record = Record("blocks.work.normal", 0, offset, key, value, carried)
    headers = dead_letter_headers(
        record,
        PoisonError("root\x00 differs", code=code),
        service="decoder",
        stage="verify",
        attempts=2,
        origin=Origin("blocks.work.normal", "id-work", 0, offset),
        first_failed_ms=1_700_000_000_000,
        last_failed_ms=1_700_000_001_000,
    )
    return Record(DLQ.topic, 0, 0, key, value, tuple(headers))


def item(number: int = 7, job_id: int | None = None, reason: Reason = Reason.BACKFILL) -> bytes:
    return encode_work_item(BlockWorkItem(CHAIN, number, 0, None, job_id, reason))


def test_a_letter_becomes_a_row_and_a_dead_bit(
    indexer: Indexer, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    mine, other = job(0), job(0)

    indexer.index(letter(item(7, mine)))

    [row] = rows(
        look,
        "SELECT chain_id, origin_topic, origin_topic_id, origin_offset, block_number, job_id, state, service, code,"
        " message, attempts, record_value FROM dead_letters",
    )
    assert row == (
        CHAIN, "blocks.work.normal", "id-work", 5, 7, mine, "open", "decoder", "BAD_ROOT", "root\ufffd differs", 2,
        item(7, mine),
    )  # fmt: skip
    assert (bits(look, mine, "dead"), bits(look, other, "dead")) == ({7}, set())
    assert rows(look, "SELECT status, code, attempts FROM block_processing") == [("dead", "BAD_ROOT", 2)]


def test_a_letter_that_comes_twice_is_one_row(
    indexer: Indexer, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    mine = job(0)

    indexer.index(letter(item(7, mine)), letter(item(7, mine)))
    indexer.index(letter(item(7, mine)))

    assert rows(look, "SELECT count(*) FROM dead_letters") == [(1,)]
    assert rows(look, "SELECT attempts FROM block_processing") == [(2,)]


def test_a_replayed_item_that_fails_again_is_a_new_letter(indexer: Indexer, look: psycopg.Connection) -> None:
    indexer.index(letter(item()), letter(item(), replay=1))

    assert rows(look, "SELECT replay_count FROM dead_letters ORDER BY 1") == [(0,), (1,)]


def test_stored_beats_dead(
    indexer: Indexer, persister: Callable[..., Persister], look: psycopg.Connection, job: Callable[..., int]
) -> None:
    mine = job(0)
    persister().own().write(make(7))

    indexer.index(letter(item(7, mine)))

    assert (bits(look, mine), bits(look, mine, "dead")) == ({7}, set())
    assert rows(look, "SELECT state FROM dead_letters") == [("resolved",)]
    assert rows(look, "SELECT status FROM block_processing") == [("stored",)]


def test_stored_beats_dead_for_a_job_that_came_after_the_block(
    indexer: Indexer, persister: Callable[..., Persister], look: psycopg.Connection, job: Callable[..., int]
) -> None:
    persister().own().write(make(7))
    later = job(0)

    indexer.index(letter(item(7, later)))

    assert (bits(look, later), bits(look, later, "dead")) == ({7}, set())


def test_a_block_that_is_stored_later_resolves_its_letter(
    indexer: Indexer, persister: Callable[..., Persister], look: psycopg.Connection, job: Callable[..., int]
) -> None:
    mine = job(0)
    indexer.index(letter(item(7, mine)))

    persister().own().write(make(7, job_id=mine))

    assert (bits(look, mine), bits(look, mine, "dead")) == ({7}, set())
    assert rows(look, "SELECT state FROM dead_letters") == [("resolved",)]
    assert rows(look, "SELECT status FROM block_processing") == [("stored",)]


def test_a_repair_that_failed_stays_open_although_the_block_is_stored(
    indexer: Indexer, persister: Callable[..., Persister], look: psycopg.Connection, job: Callable[..., int]
) -> None:
    repairing = job(0, reason="repair")
    persister().own().write(make(7))

    indexer.index(letter(item(7, repairing, Reason.REPAIR)))

    assert bits(look, repairing, "dead") == {7}
    assert rows(look, "SELECT state FROM dead_letters") == [("open",)]


def test_a_letter_whose_job_cannot_be_read_lets_every_job_end(
    indexer: Indexer, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    one, other = job(0), job(0, wanted=1)

    indexer.index(letter(b"garbage"))

    assert (bits(look, one, "dead"), bits(look, other, "dead")) == ({7}, set())
    assert rows(look, "SELECT block_number, job_id FROM dead_letters") == [(7, None)]


def test_a_letter_of_no_job_kills_no_jobs_block(
    indexer: Indexer, look: psycopg.Connection, job: Callable[..., int]
) -> None:
    one = job(0)

    indexer.index(letter(item(7, None)))

    assert bits(look, one, "dead") == set()


def test_another_chains_letter_is_kept_and_touches_nothing(
    indexer: Indexer, persister: Callable[..., Persister], look: psycopg.Connection, job: Callable[..., int]
) -> None:
    one = job(0)

    indexer.index(letter(encode_work_item(BlockWorkItem(1, 7, job_id=one)), key=b"1:7"))
    indexer.index(letter(b"garbage", key=b"1:7", offset=6))
    nothing = (bits(look, one, "dead"), rows(look, "SELECT * FROM block_processing"))
    persister().own().write(make(7))

    assert nothing == (set(), [])
    assert rows(look, "SELECT chain_id, block_number, job_id, state FROM dead_letters") == [
        (CHAIN, None, None, "open"),
        (CHAIN, None, None, "open"),
    ]
    assert jobs.dead_by_code(look, one) == []


def test_another_chains_letter_is_in_the_commands_that_its_code_names(
    indexer: Indexer, look: psycopg.Connection, settings: Settings, command: Command
) -> None:
    value = encode_work_item(BlockWorkItem(1, 7))
    indexer.index(*(letter(value, key=b"1:7", offset=offset, code="OTHER_CHAIN") for offset in (5, 6, 7)))
    of_it = ("--code", "OTHER_CHAIN")

    [one, two, three] = command(settings, "dlq", "list", "--each", "--json", *of_it).json()
    shown = command(settings, "dlq", "show", one["id"], "--json").json()
    exported = command(settings, "dlq", "export", *of_it).out.splitlines()
    aside = command(settings, "dlq", "quarantine", "--id", two["id"], "--yes")
    given_up = command(settings, "dlq", "drop", *of_it, "--yes")

    assert (shown["body"]["chain_id"], shown["body"]["number"], shown["key"]) == (1, 7, "1:7")
    assert (len(exported), json.loads(exported[2])["id"]) == (3, three["id"])
    assert (aside.out, given_up.out) == ("1 dead letters quarantined\n", "2 dead letters dropped\n")
    assert rows(look, "SELECT state FROM dead_letters ORDER BY id") == [("dropped",), ("quarantined",), ("dropped",)]


def test_what_a_letter_is_about() -> None:
    def about(value: bytes, key: bytes = b"") -> int | None:
        return subject_of(Record("t", 0, 0, key, value), CHAIN).number

    assert about(item(9)) == 9
    assert about(encode_block(make(8))) == 8
    assert about(encode_rollback(Rollback(CHAIN, 5, 1))) is None
    assert about(b"x", block_key(CHAIN, 3)) == 3
    assert about(b"x", b"strange") is None
    assert about(item(2**60)) is None


def test_a_strangers_record_is_indexed(indexer: Indexer, look: psycopg.Connection) -> None:
    indexer.index(Record(DLQ.topic, 0, 0, None, None, (("n\x00", None), ("x-dlq-first-failed-at", b"9" * 18))))

    assert rows(look, "SELECT code, origin_topic, first_failed_at FROM dead_letters") == [
        ("UNKNOWN", "blocks.dlq", None)
    ]


def changed(record: Record, **headers: bytes) -> Record:
    """Give the record's x-dlq-* headers other values."""
    other = {"x-dlq-" + name.replace("_", "-"): value for name, value in headers.items()}
    kept = tuple((name, value) for name, value in record.headers if name not in other)
    return replace(record, headers=(*kept, *other.items()))


LONG = os.urandom(1 << 20).hex().encode()  # what cannot be compressed: a page of an index has no room for it
TEXTS = ("origin-topic", "origin-topic-id", "fingerprint", "service", "stage", "error-code", "error-class",
         "error-message", "run-id")  # fmt: skip
NUMBERS = ("origin-partition", "origin-offset", "origin-timestamp", "attempts", "first-failed-at", "last-failed-at",
           "replay-count")  # fmt: skip
ODD = (LONG, b"", b"\x00", b"\xff\xfe", b"-1", b"9" * 10, b"9" * 18, b"9" * 19, b"9" * 400, "\u0661".encode())


@pytest.mark.parametrize("name", [*TEXTS, *NUMBERS])
def test_whatever_a_header_says_the_record_is_a_letter_and_so_is_the_next(
    indexer: Indexer, look: psycopg.Connection, name: str
) -> None:
    odd = [changed(letter(item(), offset=at), **{name: value}) for at, value in enumerate(ODD)]

    indexer.index(*odd)
    indexer.index(letter(item(), offset=99))

    kept = rows(look, "SELECT record_headers FROM dead_letters ORDER BY id")
    assert [headers for (headers,) in kept[:-1]] == [[[n, (v or b"").hex()] for n, v in each.headers] for each in odd]
    assert rows(look, "SELECT count(DISTINCT id) FROM dead_letters WHERE origin_offset = 99") == [(1,)]


def test_work_items_whose_origin_is_nonsense_are_a_letter_each(indexer: Indexer, look: psycopg.Connection) -> None:
    decoder = Decoder(rules_for(CHAIN), ModelSet(), frozenset(), "full", load_topics(), 12)
    for at, place in enumerate((b"blocks.work.normal," + LONG + b",0,17,0", b"a,b,c,d,e", b"a,b,c,d,e")):
        record = Record("blocks.work.normal", 0, at, b"43114:5", b"\0garbage", ((ORIGIN, place),))
        dead = decoder.unreadable(record, PoisonError("no", code="NOT_AVRO"), 1)
        indexer.index(Record(DLQ.topic, 0, 0, dead.key, dead.value, dead.headers))

    assert rows(look, "SELECT origin_topic, origin_offset FROM dead_letters ORDER BY id") == [
        ("blocks.work.normal", 0),
        ("blocks.work.normal", 1),
        ("blocks.work.normal", 2),
    ]


def test_what_is_left_of_long_headers_is_shown(
    indexer: Indexer, look: psycopg.Connection, settings: Settings, command: Command
) -> None:
    indexer.index(changed(letter(item()), error_code=LONG, error_message=LONG, fingerprint=LONG))
    [(which, print_)] = rows(look, "SELECT id, fingerprint FROM dead_letters")

    text = command(settings, "dlq", "show", which).out
    shown = command(settings, "dlq", "show", which, "--json").json()
    listed = command(settings, "dlq", "list", "--fingerprint", print_, "--json").json()

    assert (len(shown["code"].encode()), len(shown["message"].encode())) == (128, 1024)
    assert shown["code"].endswith("…")
    assert ["x-dlq-error-code", LONG.decode()] in shown["headers"]
    assert len(text) < 10_000
    assert f"… ({len(LONG):,} characters; --json prints all)" in text
    assert [each["count"] for each in listed] == [1]


def test_attempts_of_many_letters_of_a_block_have_an_end(
    indexer: Indexer, persister: Callable[..., Persister], look: psycopg.Connection
) -> None:
    indexer.index(*(changed(letter(item(), offset=at), attempts=b"9" * 18) for at in range(4)))
    persister().own().write(make(7))

    assert rows(look, "SELECT status, attempts FROM block_processing") == [("stored", 1_000_000_001)]


def test_a_letter_that_cannot_be_stored_ends_the_process(indexer: Indexer) -> None:
    indexer.handler.submit([letter(item())])
    [handled] = indexer.handler.completed(0)

    with pytest.raises(FatalError):
        indexer.writer.set_aside(handled, PoisonError("x"))


def test_the_handler_forgets_partitions_that_left(indexer: Indexer) -> None:
    indexer.handler.submit([letter(item())])
    assert indexer.handler.room() == 63

    indexer.handler.forget([DLQ])

    assert (indexer.handler.completed(0), indexer.handler.room()) == ([], 64)
    indexer.handler.close()


def test_a_second_failure_is_a_new_letter_and_the_first_is_superseded(
    indexer: Indexer, look: psycopg.Connection
) -> None:
    indexer.index(letter(item(), offset=5))
    look.execute("UPDATE dead_letters SET state = 'replayed'")

    indexer.index(letter(item(), offset=5, replay=1))

    assert rows(look, "SELECT replay_count, state FROM dead_letters ORDER BY id") == [(0, "superseded"), (1, "open")]


def test_a_second_failure_that_began_elsewhere_is_known_by_its_run(indexer: Indexer, look: psycopg.Connection) -> None:
    indexer.index(letter(item(7), offset=5), letter(item(8), offset=6, key=b"43114:8"))
    look.execute("UPDATE dead_letters SET state = 'replayed'")
    look.execute("INSERT INTO replay_items SELECT 3, id, id, 'replayed' FROM dead_letters")

    indexer.index(letter(item(7), offset=70, replay=1, run=3))

    found = rows(look, "SELECT block_number, replay_count, state, run_id FROM dead_letters ORDER BY id")
    assert found == [(7, 0, "superseded", None), (8, 0, "replayed", None), (7, 1, "open", 3)]
