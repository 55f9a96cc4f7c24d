"""A fixed budget of mutated answers and records; `make fuzz` runs a million of each."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from indexer import native
from tests.fuzz.avro import AvroFuzz
from tests.fuzz.mutations import changed_bytes, changed_json
from tests.fuzz.records import RecordsFuzz
from tests.fuzz.rpc import RpcFuzz, differences
from tests.fuzz.run import run

ITEMS = 20_000
SHARES = 4


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> RpcFuzz:
    return RpcFuzz.of_chains(tmp_path_factory.mktemp("chain"), native.load("auto"))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> AvroFuzz:
    return AvroFuzz.of_chains(tmp_path_factory.mktemp("chain"), native.load("auto"))


@pytest.mark.parametrize("share", range(SHARES))
def test_a_mutated_answer_is_the_genuine_block_or_an_error_of_ours(answers: RpcFuzz, share: int) -> None:
    report = run("rpc", answers.judge, ITEMS // SHARES, share * ITEMS)

    assert report.wrong == []
    assert report.fates["the same columns"] > ITEMS // SHARES // 20  # what nothing proves, or what nobody reads


@pytest.mark.parametrize("share", range(SHARES))
def test_a_mutated_record_is_a_letter_or_nothing_proven_in_it_is_wrong(records: AvroFuzz, share: int) -> None:
    report = run("avro", records.judge, ITEMS // SHARES, share * ITEMS)

    assert report.wrong == []
    assert report.fates["altered: CHECKSUM_MISMATCH"] > ITEMS // SHARES // 3
    assert report.fates["without checksum: RECORD_NOT_GENUINE"] > ITEMS // SHARES // 20
    assert report.fates["without checksum: proven"] > 0
    assert report.fates["decoded so: rows"] > ITEMS // SHARES // 20


@pytest.mark.parametrize("share", range(SHARES))
def test_a_mutated_item_letter_outcome_or_mark_is_read_or_refused(records: AvroFuzz, share: int) -> None:
    report = run("records", RecordsFuzz(records.records).judge, ITEMS // SHARES, share * ITEMS)

    assert report.wrong == []
    assert min(report.fates[fate] for fate in ("work item: asked for", "letter: replayed", "outcome: read")) > 50


def test_a_column_that_is_proven_and_differs_is_seen(answers: RpcFuzz) -> None:
    genuine = next(each.decoded for each in answers.originals if each.decoded.transactions.hash)
    dearer = replace(genuine.transactions, value=[value + 1 for value in genuine.transactions.value])

    assert differences(genuine, genuine) == []
    assert differences(genuine, replace(genuine, transactions=dearer)) == ["value"]
    assert differences(genuine, replace(genuine, header=replace(genuine.header, gas_used=1))) == ["header"]


def test_a_seed_gives_the_same_mutation_and_leaves_the_original_alone() -> None:
    value = {"a": ["0x12", {"b": "0x34"}]}

    assert [changed_json(value, random.Random(seed)) for seed in range(2000)] == [
        changed_json(value, random.Random(seed)) for seed in range(2000)
    ]
    assert value == {"a": ["0x12", {"b": "0x34"}]}
    assert len({changed_bytes(b"some bytes", random.Random(seed)) for seed in range(50)}) > 20
