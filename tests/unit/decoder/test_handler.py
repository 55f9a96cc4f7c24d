"""What becomes of a work item: every case of the decoder's core."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from indexer import codec
from indexer.abi import decode
from indexer.abi.compile import compile_event
from indexer.abi.models import Model, ModelSet, wrapped_native
from indexer.abi.signatures import parse_signature
from indexer.chain.verify import Mode
from indexer.checksum import sealed
from indexer.deadletter import read_letter
from indexer.errors import IndexerError, NotYetError, PoisonError, TransientError
from indexer.inflight import Record
from indexer.outputs import Output
from indexer.records import DecodedBlock, Logs, Proof, Reason
from indexer.topics import partition_of
from services.decoder import handler
from services.decoder.attempts import due_ms, longest_waits
from services.decoder.handler import Decoder, Refusal, Task
from tests.unit.decoder.conftest import CHAIN, Fetch, record_of

NOW = 1_800_000_000_000
ERC20, ERC721 = (
    compile_event(parse_signature(f"event Transfer(address indexed from, address indexed to, uint256 {last})"))
    for last in ("value", "indexed tokenId")
)


def no_lap(stage: str) -> None:
    pass


def decoded(decoder: Decoder, task: Task, answer: Any) -> Output | Refusal:
    return decoder.decode(task, answer, no_lap)


def as_record(output: Output, offset: int = 0) -> Record:
    return Record(output.topic, output.partition, offset, output.key, output.value, output.headers)


def header(output: Output, name: str) -> str:
    return (dict(output.headers)[name] or b"").decode()


def failed_again_and_again(decoder: Decoder, record: Record, error: IndexerError) -> list[Output]:
    """Return what is written each time, as each retry is consumed and fails again."""
    written: list[Output] = []
    while len(written) < 10:
        outputs = decoder.failed(decoder.read(record), error, "fetch", NOW + len(written))
        written += outputs
        if not outputs or ".retry." not in outputs[0].topic:
            break
        record = as_record(outputs[0], offset=90 + len(written))
    return written


def test_a_block_becomes_a_record_in_the_partition_of_its_height(decoder: Decoder, fetched: Fetch) -> None:
    task = decoder.read(record_of(7, generation=3, reason=Reason.REPAIR))

    output = decoded(decoder, task, fetched(7))

    assert isinstance(output, Output)
    assert (output.topic, output.partition) == ("t.blocks.decoded", partition_of(7, 12))
    assert output.key == codec.block_key(CHAIN, 7)
    block = codec.decode_record(output.value or b"")
    assert isinstance(block, DecodedBlock)
    assert (block.header.number, block.generation, block.job_id, block.reason) == (7, 3, 1, Reason.REPAIR)
    assert Proof.RECEIPTS_ROOT | Proof.TRANSACTIONS_ROOT | Proof.HEADER_HASH in block.proofs


def test_compiled_code_makes_the_same_record(decoder: Decoder, fetched: Fetch, answers: dict[int, Any]) -> None:
    tasks = [decoder.read(record_of(number)) for number in answers]
    in_python = replace(decoder, native=None)

    records = [decoded(decoder, task, fetched(task.item.number)) for task in tasks]

    assert records == [decoded(in_python, task, fetched(task.item.number)) for task in tasks]


def test_usual_blocks_are_left_to_compiled_code(
    decoder: Decoder, fetched: Fetch, answers: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "parse_block", None)
    if decoder.native is None:
        pytest.skip("Python alone")

    outputs = [decoded(decoder, decoder.read(record_of(number)), fetched(number)) for number in answers]

    assert all(isinstance(output, Output) for output in outputs)


def test_without_models_no_log_is_made_an_object_of_python(
    decoder: Decoder, fetched: Fetch, answers: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if decoder.native is None:
        pytest.skip("Python alone")
    monkeypatch.setattr(decode, "token_transfers", None)
    seen: list[Logs] = []
    monkeypatch.setattr(
        handler, "decode_logs", lambda logs, *rest: (seen.append(logs), decode.decode_logs(logs, *rest))[1]
    )

    outputs = [decoded(decoder, decoder.read(record_of(number)), fetched(number)) for number in answers]

    assert sum(len(content(output).token_transfers.log_index) for output in outputs) > 100
    assert seen == [Logs()] * len(answers)


def test_compiled_code_leaves_to_models_what_is_theirs(
    decoder: Decoder, fetched: Fetch, answers: dict[int, Any]
) -> None:
    """With an event that fits, one that does not, and a coin that only a model names."""
    tokens = (Model("erc20", 1, (ERC20,), None), Model("erc721", 1, (ERC721,), None))
    coin = Model("coin", 1, (), {}, wrapped_native=wrapped_native(CHAIN))
    with_models = replace(decoder, models=ModelSet((*tokens, coin)))
    in_python = replace(with_models, native=None)
    tasks = [decoder.read(record_of(number)) for number in answers]

    outputs = [decoded(with_models, task, fetched(task.item.number)) for task in tasks]

    assert outputs == [decoded(in_python, task, fetched(task.item.number)) for task in tasks]
    blocks = list(map(content, outputs))
    assert all(any(columns) for columns in zip(*map(_sizes, blocks), strict=True))


def _sizes(block: DecodedBlock) -> tuple[int, int, int]:
    deposits = block.token_transfers.kind.count("deposit")
    return len(block.decoded_events.log_index), len(block.undecoded_logs), deposits


def content(output: Output | Refusal) -> DecodedBlock:
    assert isinstance(output, Output)
    block = codec.decode_record(output.value or b"")
    assert isinstance(block, DecodedBlock)
    return block


@pytest.mark.parametrize("mode", ["senders", "consistency"])
def test_other_modes_than_full_are_pythons(decoder: Decoder, fetched: Fetch, mode: Mode) -> None:
    output = decoded(replace(decoder, mode=mode), decoder.read(record_of(7)), fetched(7))

    assert isinstance(output, Output)
    block = codec.decode_record(output.value or b"")
    assert isinstance(block, DecodedBlock)
    assert (Proof.SENDERS in block.proofs) == (mode == "senders")


def test_every_block_of_the_chain_is_proven(decoder: Decoder, fetched: Fetch, answers: dict[int, Any]) -> None:
    outputs = [decoded(decoder, decoder.read(record_of(number)), fetched(number)) for number in answers]

    assert all(isinstance(output, Output) for output in outputs)


def test_stages_are_told_in_their_order(decoder: Decoder, fetched: Fetch) -> None:
    stages: list[str] = []
    answer = fetched(7)

    decoder.decode(decoder.read(record_of(7)), answer, stages.append)

    assert stages == ["parse", "verify", "decode", "encode"]


def test_a_replayed_item_hands_its_headers_on(decoder: Decoder, fetched: Fetch) -> None:
    carried = (("x-dlq-replay-count", b"2"), ("x-dlq-run-id", b"run"))
    task = decoder.read(record_of(7, headers=(*carried, ("x-retry-attempts", b"1"))))

    output = decoded(decoder, task, fetched(7))

    assert isinstance(output, Output)
    assert output.headers == sealed(carried, output.value or b"")


def test_a_block_is_sealed_anew_whatever_checksum_its_item_brought(decoder: Decoder, fetched: Fetch) -> None:
    task = decoder.read(record_of(7, headers=sealed((), b"the letter that was replayed")))

    output = decoded(decoder, task, fetched(7))

    assert isinstance(output, Output)
    assert output.headers == sealed((), output.value or b"")


@pytest.mark.parametrize(
    ("altered", "stage"),
    [
        ({"gasUsed": "0x1"}, "verify"),
        ({"receiptsRoot": "0x" + "11" * 32}, "verify"),
        ({"hash": "not a hash"}, "parse"),
        ({"transactions": None}, "parse"),
    ],
)
def test_a_block_that_is_not_genuine_is_refused(
    decoder: Decoder, fetched: Fetch, altered: dict[str, Any], stage: str
) -> None:
    refusal = decoded(decoder, decoder.read(record_of(7)), fetched(7, **altered))

    assert isinstance(refusal, Refusal)
    assert refusal.may_be_the_nodes_fault
    assert isinstance(refusal.error, PoisonError)
    assert refusal.stage == stage or refusal.error.code.startswith("BLOCK_HASH")


def test_another_block_than_asked_for_is_refused(decoder: Decoder, fetched: Fetch) -> None:
    refusal = decoded(decoder, decoder.read(record_of(7)), fetched(8))

    assert isinstance(refusal, Refusal)
    assert refusal.error.code == "OTHER_NUMBER"


def test_a_record_that_is_too_large_for_the_topic_is_refused(
    decoder: Decoder, fetched: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "RECORD_LIMIT", 500)

    refusal = decoded(decoder, decoder.read(record_of(7)), fetched(7))

    assert isinstance(refusal, Refusal)
    assert (refusal.stage, refusal.error.code) == ("encode", "BLOCK_TOO_LARGE")
    assert not refusal.may_be_the_nodes_fault


def test_a_transient_failure_goes_through_the_tiers_and_is_dead_at_last(decoder: Decoder) -> None:
    written = failed_again_and_again(decoder, record_of(7), TransientError("time-out", code="RPC_TIMEOUT"))

    assert [output.topic for output in written] == [
        "t.blocks.retry.5s",
        "t.blocks.retry.1m",
        "t.blocks.retry.10m",
        "t.blocks.dlq",
    ]
    assert len({(output.key, output.value) for output in written}) == 1


def test_a_retry_waits_for_its_delay_and_a_little_more(decoder: Decoder) -> None:
    for number in range(50):
        written = failed_again_and_again(decoder, record_of(number), TransientError("time-out"))
        for index, delay in enumerate((5_000, 60_000, 600_000)):
            assert delay <= due_ms(as_record(written[index])) - (NOW + index) <= delay * 1.2


def test_a_retry_stays_in_the_partition_of_its_height(decoder: Decoder) -> None:
    (output,) = decoder.failed(decoder.read(record_of(777)), TransientError("x"), "fetch", NOW)

    assert output.partition == partition_of(777, 12)


def test_a_letter_says_where_the_item_began_and_how_often_it_failed(decoder: Decoder) -> None:
    record = record_of(7, partition=3, offset=42)
    letter = failed_again_and_again(decoder, record, TransientError("time-out", code="RPC_TIMEOUT"))[-1]

    read = read_letter(as_record(letter), "")

    assert (read.origin.topic, read.origin.partition, read.origin.offset) == ("t.blocks.work.normal", 3, 42)
    assert read.origin.topic_id == "id of t.blocks.work.normal"
    assert read.origin.timestamp_ms == 1_700_000_000_000
    assert (read.attempts, read.first_failed_ms, read.last_failed_ms) == (4, NOW, NOW + 3)
    assert (read.service, read.stage, read.code, read.build) == ("decoder", "fetch", "RPC_TIMEOUT", "abc")
    assert not [name for name, _ in letter.headers if name.startswith("x-retry-")]


def test_a_letter_never_failed_last_before_it_failed_first(decoder: Decoder) -> None:
    task = decoder.read(record_of(7))
    for _ in range(3):
        (again,) = decoder.failed(task, TransientError("time-out"), "fetch", NOW)
        task = decoder.read(as_record(again))

    (letter,) = decoder.failed(task, TransientError("time-out"), "fetch", NOW - 3_600_000)

    assert (read_letter(as_record(letter), "").first_failed_ms, read_letter(as_record(letter), "").last_failed_ms) == (
        NOW,
        NOW,
    )


def test_no_retry_waits_longer_than_its_reader_believes(decoder: Decoder) -> None:
    longest = longest_waits(decoder.topics)
    for number in range(50):
        for output in failed_again_and_again(decoder, record_of(number), TransientError("time-out"))[:3]:
            assert due_ms(as_record(output)) - (NOW + 2) <= longest[output.topic] * 1000


def test_poison_is_dead_at_once(decoder: Decoder) -> None:
    (letter,) = decoder.failed(decoder.read(record_of(7)), PoisonError("x", code="GAS_USED_MISMATCH"), "verify", NOW)

    assert letter.topic == "t.blocks.dlq"
    assert read_letter(as_record(letter), "").attempts == 1


def test_not_yet_waits_without_counting(decoder: Decoder) -> None:
    written = failed_again_and_again(decoder, record_of(7), NotYetError("null"))

    assert {output.topic for output in written} == {"t.blocks.retry.5s"}
    assert {header(output, "x-retry-attempts") for output in written} == {"0"}


@pytest.mark.parametrize("error", [NotYetError, TransientError])
def test_an_expected_hash_that_does_not_come_is_dropped_after_the_last_tier(
    decoder: Decoder, error: type[IndexerError]
) -> None:
    written = failed_again_and_again(
        decoder, record_of(7, expected_hash=bytes(32)), error("another hash", code="RPC_OTHER_HASH")
    )

    assert [output.topic for output in written] == ["t.blocks.retry.5s", "t.blocks.retry.1m", "t.blocks.retry.10m"]


def test_an_expected_hash_that_the_verifier_misses_is_not_poison(decoder: Decoder) -> None:
    task = decoder.read(record_of(7, expected_hash=bytes(32)))

    (output,) = decoder.failed(task, PoisonError("x", code="UNEXPECTED_HASH"), "verify", NOW)

    assert output.topic == "t.blocks.retry.5s"


@pytest.mark.parametrize("value", [b"", None, b"garbage", b"\x00\x00\x00\x00\x63xx"])
def test_bytes_that_are_no_work_item_become_a_letter_untouched(decoder: Decoder, value: bytes | None) -> None:
    record = replace(record_of(7, headers=(("mine", b"1"),)), value=value)

    with pytest.raises(PoisonError) as caught:
        decoder.read(record)
    letter = decoder.unreadable(record, caught.value, NOW)

    assert (letter.topic, letter.key, letter.value) == ("t.blocks.dlq", record.key, value)
    assert letter.headers[0] == ("mine", b"1")
    assert header(letter, "x-dlq-error-code") == caught.value.code


def test_an_item_of_another_chain_or_of_an_impossible_number_is_poison(decoder: Decoder) -> None:
    for record in (record_of(7, chain_id=1), record_of(-1), record_of(1 << 45)):
        with pytest.raises(PoisonError):
            decoder.read(record)


def test_a_history_that_somebody_else_wrote_is_read_as_none(decoder: Decoder) -> None:
    headers = (("x-retry-attempts", b"many"), ("x-retry-origin", b"a,b"), ("x-retry-due", None))
    task = decoder.read(record_of(7, headers=headers))

    assert (task.attempts.failed, task.attempts.origin.topic) == (0, "t.blocks.work.normal")
    assert due_ms(task.record) == 0


def test_a_due_time_that_somebody_altered_holds_nothing_up_for_good() -> None:
    altered = replace(record_of(7, headers=(("x-retry-due", b"9" * 18),)), timestamp_ms=NOW)
    genuine = replace(altered, headers=(("x-retry-due", b"%d" % (NOW + 720_000)),))

    assert due_ms(altered) == NOW + 15 * 60_000
    assert due_ms(genuine) == NOW + 720_000
