"""Which faults come when, and what is planted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from indexer import codec
from indexer.chain.rules import rules_for
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.records import DecodedBlock
from indexer.topics import DECODED, DLQ, EVENTS, RETRY, WORK, load_topics, partition_of
from services.decoder.attempts import read_attempts
from services.persister.handler import read
from services.persister.packed import PackedBlock
from services.persister.proving import Prover
from tests.chaos.plan import KINDS, OPENING, schedule
from tests.chaos.poison import FAR, POISON, Poison, poison
from tests.support.following import CHAIN_ID

TOPICS, NOW = load_topics("t."), 1_700_000_000_000
CHANCES = range(0, 6400, 7)


def planted(kind: str) -> list[Poison]:
    return [poison(kind, chance, TOPICS, NOW) for chance in CHANCES]


def as_record(each: Poison) -> Record:
    return Record(each.role, each.partition, 7, each.key, each.value, tuple(each.headers))


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(PoisonError) as caught:
        read()
    return caught.value.code


def test_a_schedule_follows_from_its_seed() -> None:
    assert schedule(3, 90) == schedule(3, 90)
    assert schedule(3, 90) != schedule(4, 90)


def test_every_kind_comes_before_one_comes_twice() -> None:
    assert len(set(KINDS)) == len(KINDS)
    assert {fault.kind for fault in schedule(3, 120)[: len(KINDS)]} == set(KINDS)


@pytest.mark.parametrize("seed", range(20))
def test_however_short_a_run_is_it_begins_inside_transactions_of_both_kinds(seed: int) -> None:
    first = {fault.kind for fault in schedule(seed, 20)[: len(OPENING)]}

    assert all(first & set(kinds) for kinds in OPENING)


def test_what_is_planted_lies_at_every_stage_in_a_partition_that_is_there() -> None:
    everything = [each for kind in POISON for each in planted(kind)]

    assert {each.role for each in everything} == {*WORK, *RETRY, DECODED, DLQ, EVENTS}
    assert all(0 <= each.partition < TOPICS[each.role].partitions for each in everything)


@pytest.mark.parametrize("kind", ["garbage on a work topic", "garbage on a retry topic"])
def test_no_decoder_takes_what_is_planted_before_it(kind: str) -> None:
    found = planted(kind)

    unreadable = [each for each in found if each.code in ("UNKNOWN_SCHEMA_ID", "NOT_AVRO")]
    assert {each.code for each in found} == {"UNKNOWN_SCHEMA_ID", "NOT_AVRO", "OTHER_CHAIN", "IMPOSSIBLE_NUMBER"}
    assert all(refusal(lambda value=each.value: codec.decode_work_item(value)) == each.code for each in unreadable)  # type: ignore[misc]


def test_what_is_planted_on_a_retry_topic_begins_there() -> None:
    for each in planted("garbage on a retry topic"):
        record = as_record(each)
        assert (read_attempts(record, {}).origin.topic, read_attempts(record, {}).origin.offset) == (each.role, 7)


def test_no_persister_takes_what_is_planted_before_it() -> None:
    found = planted("garbage on the decoded topic")

    assert len({each.code for each in found}) == 6
    for each in found:
        error = read(as_record(each), Prover(rules_for(CHAIN_ID)), TOPICS[DECODED].partitions)
        assert isinstance(error, PoisonError)
        assert error.code == each.code


def test_what_only_the_database_refuses_can_be_read_and_lies_where_it_belongs() -> None:
    for each in planted("a block that the database refuses"):
        assert isinstance(read(as_record(each), Prover(rules_for(CHAIN_ID)), TOPICS[DECODED].partitions), PackedBlock)
        block = codec.decode_record(each.value)
        assert isinstance(block, DecodedBlock)
        assert block.header.number >= FAR
        assert each.partition == partition_of(block.header.number, TOPICS[DECODED].partitions)
        assert len(set(block.logs.log_index)) < len(block.logs.log_index)


def test_nobody_reads_outcomes_so_that_no_letter_comes_of_them() -> None:
    assert {each.code for each in planted("garbage among the outcomes")} == {None}
