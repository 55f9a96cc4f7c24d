"""A letter says where its record began and why it failed, and gives no secret away."""

from __future__ import annotations

import pytest

from indexer.checksum import sealed
from indexer.deadletter import (
    Origin,
    cut,
    dead_letter_headers,
    fingerprint,
    is_altered,
    origin_of,
    own_headers,
    read_letter,
    read_origin,
    without_secrets,
    write_origin,
)
from indexer.errors import PoisonError
from indexer.inflight import Record

HEADERS = (("trace", b"\x00\xff"), ("trace", None), ("x-dlq-replay-count", b"2"), ("x-dlq-run-id", b"run-7"))
RECORD = Record("blocks.work.high", 3, 17, b"1:5", b"value", HEADERS, 1_700_000_000_000)


def letter_headers(
    error: Exception, record: Record = RECORD, origin: Origin | None = None
) -> list[tuple[str, bytes | None]]:
    return dead_letter_headers(
        record,
        error,
        service="decoder",
        stage="verify",
        attempts=3,
        origin=origin or origin_of(record, "id-1"),
        first_failed_ms=1,
        last_failed_ms=2,
        build="abc",
    )


def test_a_letter_keeps_the_records_own_headers_in_order() -> None:
    headers = letter_headers(PoisonError("root differs", code="RECEIPTS_ROOT_MISMATCH"))

    assert headers[:2] == [("trace", b"\x00\xff"), ("trace", None)]
    assert own_headers(headers) == headers[:2]


def test_what_is_written_is_read_back() -> None:
    headers = letter_headers(PoisonError("root differs", code="RECEIPTS_ROOT_MISMATCH"))

    letter = read_letter(Record("blocks.dlq", 3, 99, b"1:5", b"value", tuple(headers)), "id-dlq")

    assert letter.origin == Origin("blocks.work.high", "id-1", 3, 17, 1_700_000_000_000)
    assert (letter.code, letter.error_class, letter.message) == (
        "RECEIPTS_ROOT_MISMATCH",
        "PoisonError",
        "root differs",
    )
    assert (letter.service, letter.stage, letter.attempts, letter.build) == ("decoder", "verify", 3, "abc")
    assert (letter.replay_count, letter.run_id) == (2, "run-7")
    assert (letter.first_failed_ms, letter.last_failed_ms) == (1, 2)


def test_a_record_that_came_through_a_retry_tier_began_in_the_work_topic() -> None:
    origin = Origin("blocks.work.low", "id-low", 3, 4, 5)

    headers = letter_headers(PoisonError("x"), Record("blocks.retry.1m", 3, 1, None, b""), origin)

    assert read_letter(Record("blocks.dlq", 0, 0, None, b"", tuple(headers)), "").origin == origin


def test_a_strangers_record_on_the_dead_letter_topic_began_there() -> None:
    letter = read_letter(Record("blocks.dlq", 1, 8, None, b"?", (("x-dlq-origin-offset", b"many"),)), "id-dlq")

    assert letter.origin == Origin("blocks.dlq", "id-dlq", 1, 8)
    assert letter.code == "UNKNOWN"


@pytest.mark.parametrize(
    "place",
    [
        b"blocks.work.low," + b"f" * 8000 + b",0,17,0",
        b"b" * 250 + b",id,0,17,0",
        b",id,0,17,0",
        b"no topic,id,0,17,0",
        b"blocks.work.low,i\x00d,0,17,0",
        b"blocks.work.low,\xff,0,17,0",
        b"blocks.work.low,id,2147483648,17,0",
        b"blocks.work.low,id,,17,0",
        b"blocks.work.low,id,0,9999999999999999999,0",
        b"blocks.work.low,id,0,-1,0",
        "blocks.work.low,id,0,\u0661,0".encode(),
    ],
)
def test_a_record_whose_origin_is_no_place_in_kafka_began_where_it_lies(place: bytes) -> None:
    names = ("topic", "topic-id", "partition", "offset", "timestamp")
    headers = tuple(("x-dlq-origin-" + name, text) for name, text in zip(names, place.split(b","), strict=True))

    assert read_origin(place) is None
    assert read_letter(Record("blocks.dlq", 1, 8, None, b"?", headers), "id-dlq").origin == Origin(
        "blocks.dlq", "id-dlq", 1, 8
    )


def test_an_origin_is_read_back() -> None:
    origin = Origin("t.blocks.work.low", "zkCf/2Q+TzW6-8_Y9fnPWg", 11, 1 << 40, 5)

    assert read_origin(write_origin(origin)) == origin
    assert read_origin(b"blocks.work.low,,0,17,0") == Origin("blocks.work.low", "", 0, 17)


@pytest.mark.parametrize("told", [b"f" * 8000, b"0123456789ABCDEF", b"\x00", b""])
def test_a_fingerprint_that_is_none_of_ours_is_made_of_what_the_letter_says(told: bytes) -> None:
    headers = (("x-dlq-error-message", b"block 17"), ("x-dlq-fingerprint", told))

    letter = read_letter(Record("blocks.dlq", 1, 8, None, b"?", headers), "id-dlq")

    assert letter.fingerprint == fingerprint("unknown", "unknown", "UNKNOWN", "Unknown", "block 17")


def test_counts_that_nobody_comes_to_have_an_end() -> None:
    headers = (("x-dlq-attempts", b"9" * 18), ("x-dlq-replay-count", b"2147483647"))

    letter = read_letter(Record("blocks.dlq", 1, 8, None, b"?", headers), "id-dlq")

    assert (letter.attempts, letter.replay_count) == (1_000_000_000, 0)


def test_a_letter_has_no_more_of_a_runs_id_than_an_id_needs() -> None:
    record = Record("blocks.work.high", 3, 17, b"1:5", b"value", (("x-dlq-run-id", b"\xff" * 100_000),))

    assert len(dict(letter_headers(PoisonError("x"), record))["x-dlq-run-id"] or b"") <= 64


def test_kip_1034_names_are_there_too() -> None:
    headers = dict(letter_headers(PoisonError("x")))

    assert headers["__streams.errors.topic"] == b"blocks.work.high"
    assert headers["__streams.errors.offset"] == b"17"


def test_an_error_that_is_not_ours_is_named_by_its_class() -> None:
    assert dict(letter_headers(ValueError("x")))["x-dlq-error-code"] == b"ValueError"


def test_failures_that_differ_in_numbers_only_share_a_fingerprint() -> None:
    one = fingerprint("d", "s", "C", "E", "block 17 has root 0xabcdef0123")
    two = fingerprint("d", "s", "C", "E", "block 18 has root 0x99")

    assert one == two != fingerprint("d", "s", "C", "E", "another text")


def test_a_value_is_not_believed_whose_checksum_differs_or_whose_code_says_so() -> None:
    def about(code: str, value: bytes = b"value") -> Record:
        headers = (*sealed((), b"value"), ("x-dlq-error-code", code.encode()))
        return Record("blocks.dlq", 0, 0, b"key", value, headers)

    assert not is_altered(about("ROW_REFUSED"))
    assert is_altered(about("ROW_REFUSED", b"valuf"))
    assert is_altered(about("RECORD_NOT_GENUINE"))
    assert is_altered(about("CHECKSUM_MISMATCH"))


def test_no_secret_leaves() -> None:
    text = "POST https://user:pw@node.example:8545/v1/KEY123?token=abc failed; password=hunter2, 'wss://a.b/KEY'"

    assert without_secrets(text) == "POST https://node.example:8545/… failed; password=… 'wss://a.b/…'"
    assert (
        without_secrets("http://localhost:8545 and http://localhost/") == "http://localhost:8545 and http://localhost/"
    )


def test_a_message_is_cut_at_a_kibibyte_and_never_inside_a_character() -> None:
    assert len(cut("é" * 5000).encode()) <= 1024
    assert cut("short") == "short"
