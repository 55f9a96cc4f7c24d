"""From a letter to the work item that asks for its block again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from indexer.checksum import CHECKSUM, sealed
from indexer.codec import block_key, decode_work_item, encode_block, encode_rollback, encode_work_item
from indexer.deadletter import Origin, dead_letter_headers
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.records import BlockWorkItem, Reason, Rollback
from indexer.replay.items import Chosen, Fate, Fresh, fate_of
from indexer.topics import load_topics, partition_of
from services.decoder.attempts import read_attempts
from tests.support.blocks import CHAIN, BlockMaker

TOPICS = load_topics("t.")
HASH = b"\x07" * 32


def chosen(value: bytes, *, topic: str = "t.blocks.work.high", **fields: Any) -> Chosen:
    record = Record(topic, 2, 30, block_key(CHAIN, 7), value, (("trace", b"abc"), ("x-dlq-replay-count", b"1")))
    headers = dead_letter_headers(
        record,
        PoisonError("no"),
        service="decoder",
        stage="verify",
        attempts=1,
        origin=Origin(topic, "id-9", 2, 30, 99),
        first_failed_ms=1,
        last_failed_ms=2,
    )
    lying = Record("t.blocks.dlq", 0, 5, record.key, value, tuple(headers))
    known = {"position": 0, "id": 1, "state": "open", "chain_id": CHAIN, "block_number": 7, "replay_count": 1}
    return Chosen(**{**known, "record": lying, **fields})


def item(**fields: Any) -> bytes:
    return encode_work_item(BlockWorkItem(CHAIN, 7, generation=3, expected_hash=b"\x01" * 32, job_id=4, **fields))


def fate(letter: Chosen, fresh: Fresh = Fresh(HASH, 9)) -> Fate:
    return fate_of(letter, fresh, run=12, chain_id=CHAIN, topics=TOPICS, partitions=12)


def asked_for(letter: Chosen, fresh: Fresh = Fresh(HASH, 9)) -> BlockWorkItem:
    found = fate(letter, fresh).output
    assert found is not None
    return decode_work_item(found.value or b"")


def test_an_item_keeps_job_and_reason_and_gets_a_fresh_hash_and_generation() -> None:
    again = asked_for(chosen(item(reason=Reason.HEAD)))

    assert again == BlockWorkItem(CHAIN, 7, 9, HASH, 4, Reason.HEAD)


def test_a_hash_that_is_not_known_any_more_is_not_expected() -> None:
    assert asked_for(chosen(item()), Fresh(None, 9)).expected_hash is None


def test_it_goes_where_it_began_with_one_more_replay_and_its_own_headers() -> None:
    output = fate(chosen(item())).output

    assert output is not None
    assert (output.topic, output.partition, output.key) == ("t.blocks.work.high", partition_of(7, 12), b"43114:7")
    found = dict(output.headers)
    assert (found["trace"], found["x-dlq-replay-count"], found["x-dlq-run-id"]) == (b"abc", b"2", b"12")
    assert not [name for name in found if name.startswith("__streams")]


def test_a_second_failure_has_the_first_ones_origin() -> None:
    output = fate(chosen(item())).output

    assert output is not None
    record = Record(output.topic, output.partition, 1000, output.key, output.value, output.headers)
    history = read_attempts(record, {})
    assert history.origin == Origin("t.blocks.work.high", "id-9", 2, 30, 99)
    assert history.failed == 0


def test_a_decoded_block_is_asked_for_as_a_work_item_at_normal_priority() -> None:
    value = encode_block(BlockMaker()(7, job_id=5, reason=Reason.REPAIR))
    letter = chosen(value, topic="t.blocks.decoded")

    assert asked_for(letter) == BlockWorkItem(CHAIN, 7, 9, HASH, 5, Reason.REPAIR)
    output = fate(letter).output
    assert output is not None
    assert output.topic == "t.blocks.work.normal"


@pytest.mark.parametrize("value", [b"no avro", encode_rollback(Rollback(CHAIN, 5, 2))])
def test_what_cannot_be_read_is_asked_for_by_its_number(value: bytes) -> None:
    assert asked_for(chosen(value)) == BlockWorkItem(CHAIN, 7, 9, HASH, None, Reason.REPLAY)


def test_nothing_is_believed_of_a_record_that_was_altered() -> None:
    genuine = encode_block(BlockMaker()(7, job_id=5, reason=Reason.REPAIR))
    altered = encode_block(BlockMaker()(7, job_id=6, reason=Reason.REPAIR))
    letter = chosen(altered, topic="t.blocks.decoded")
    letter = replace(letter, record=replace(letter.record, headers=sealed(letter.record.headers, genuine)))

    assert asked_for(letter) == BlockWorkItem(CHAIN, 7, 9, HASH, None, Reason.REPLAY)
    output = fate(letter).output
    assert output is not None
    assert CHECKSUM not in dict(output.headers)


@pytest.mark.parametrize(
    ("letter", "outcome"),
    [
        (chosen(item(), state="dropped"), "dropped"),
        (chosen(item(), state="replayed"), "elsewhere"),  # by another run: this one has not come to it
        (chosen(item(), outcome="elsewhere"), "elsewhere"),
        (chosen(encode_work_item(BlockWorkItem(1, 7)), block_number=None), "other-chain"),
        (chosen(encode_rollback(Rollback(1, 5, 2)), block_number=None), "other-chain"),
        (chosen(encode_block(BlockMaker(chain_id=1)(7))), "other-chain"),
        (chosen(b"no avro", block_number=None), "no-block"),
    ],
)
def test_what_cannot_or_need_not_be_asked_for_is_passed_by(letter: Chosen, outcome: str) -> None:
    found = fate(letter)

    assert (found.outcome, found.output) == (outcome, None)


def test_a_stored_block_is_asked_for_again_only_by_a_repair() -> None:
    stored = Fresh(HASH, 9, stored=True)

    assert fate(chosen(item()), stored).output is None
    assert fate(chosen(item()), stored).outcome == "stored"
    assert asked_for(chosen(item(reason=Reason.REPAIR)), stored).reason is Reason.REPAIR


def test_letters_that_were_set_aside_can_be_replayed() -> None:
    assert fate(chosen(item(), state="quarantined")).outcome == "replayed"
