"""What is malformed, disagrees or was changed is refused with a stable code, and nothing else is ever raised."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.chain.errors import VerificationError
from indexer.chain.parse import parse_block
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.errors import PoisonError
from indexer.records import Logs, Proof, Transactions
from tests.support.shared_data import shared_data
from tests.unit.chain.builders import ACCESS_LIST, BOB, TOKEN, Json, a_log, authorization, receipt_of, sealed, signed

ETHEREUM = rules_for(1)
FEES = {"maxFeePerGas": 100, "maxPriorityFeePerGas": 3}
Answers = tuple[Json, list[Json]]
Path = tuple[str | int, ...]


@lru_cache(maxsize=1)
def _answers() -> Answers:
    sent = [
        signed(ETHEREUM, gasPrice=50)[0],
        signed(ETHEREUM, type=2, nonce=8, **FEES, accessList=ACCESS_LIST)[0],
        signed(ETHEREUM, type=4, nonce=9, **FEES, accessList=[], authorizationList=[authorization(ETHEREUM)])[0],
        signed(ETHEREUM, type=2, nonce=10, **FEES, accessList=[], to=None)[0],
    ]
    receipts = [receipt_of(sent[0], [a_log(3), a_log(0, "0x")]), *map(receipt_of, sent[1:3])]
    receipts.append(receipt_of(sent[3], [a_log(4, "0x05"), a_log(1, "0x" + "ab" * 70)], contractAddress=BOB))
    receipts[3]["contractAddress"] = _created(sent, receipts)
    return sealed(ETHEREUM, sent, receipts, parentBeaconBlockRoot="0x" + "01" * 32, withdrawalsRoot=None)


def _created(sent: list[Json], receipts: list[Json]) -> str:
    block, receipts = sealed(ETHEREUM, sent, receipts)
    with pytest.raises(VerificationError, match="contract address") as refused:
        verify(*parse_block(block, receipts, ETHEREUM), ETHEREUM)
    return str(refused.value).split("computed ")[1]


def answers() -> Answers:
    return copy.deepcopy(_answers())


def judge(block: Any, receipts: Any, mode: Any = "senders") -> Proof:
    return verify(*parse_block(block, receipts, ETHEREUM), ETHEREUM, mode=mode)


def code_of(block: Any, receipts: Any) -> str:
    with pytest.raises(PoisonError) as refused:
        judge(block, receipts)
    return refused.value.code


def test_the_block_that_these_tests_spoil_is_proven_before() -> None:
    assert Proof.RECEIPTS_ROOT | Proof.SENDERS | Proof.EFFECTIVE_GAS_PRICE in judge(*answers())


def put(path: Path, value: Any) -> Callable[[Any], None]:
    def change(both: Any) -> None:
        item = both
        for step in path[:-1]:
            item = item[step]
        item[path[-1]] = value

    return change


OTHER = "0x" + "0d" * 32
DISAGREEING = [
    ("BLOCK_HASH_DISAGREES", put((0, "transactions", 1, "blockHash"), OTHER)),
    ("BLOCK_HASH_DISAGREES", put((1, 2, "blockHash"), OTHER)),
    ("BLOCK_HASH_DISAGREES", put((1, 0, "logs", 1, "blockHash"), OTHER)),
    ("BLOCK_NUMBER_DISAGREES", put((0, "transactions", 0, "blockNumber"), "0x11")),
    ("BLOCK_NUMBER_DISAGREES", put((1, 1, "blockNumber"), "0x11")),
    ("TRANSACTION_HASH_DISAGREES", put((1, 1, "transactionHash"), OTHER)),
    ("TRANSACTION_HASH_DISAGREES", put((1, 0, "logs", 0, "transactionHash"), OTHER)),
    ("TRANSACTION_INDEX_DISAGREES", put((0, "transactions", 3, "transactionIndex"), "0x2")),
    ("TRANSACTION_INDEX_DISAGREES", put((1, 3, "transactionIndex"), "0x2")),
    ("TRANSACTION_INDEX_DISAGREES", put((1, 3, "logs", 0, "transactionIndex"), "0x2")),
    ("TRANSACTION_TYPE_DISAGREES", put((1, 1, "type"), "0x0")),
    ("LOG_INDEX_GAP", put((1, 0, "logs", 1, "logIndex"), "0x2")),
    ("LOG_INDEX_GAP", put((1, 0, "logs"), [])),
    ("LOG_REMOVED", put((1, 0, "logs", 1, "removed"), True)),
    ("RECEIPT_COUNT_MISMATCH", lambda both: both[1].pop()),
    ("GAS_USED_MISMATCH", put((1, 3, "cumulativeGasUsed"), "0x5209")),
    ("EFFECTIVE_GAS_PRICE_MISMATCH", put((1, 1, "effectiveGasPrice"), "0x9")),
    ("CONTRACT_ADDRESS_MISMATCH", put((1, 3, "contractAddress"), BOB)),
    ("CONTRACT_ADDRESS_MISMATCH", put((1, 3, "contractAddress"), None)),
    ("CONTRACT_ADDRESS_MISMATCH", put((1, 0, "contractAddress"), BOB)),
    ("RECEIPTS_ROOT_MISMATCH", put((1, 0, "logs", 0, "data"), "0x12")),
    ("TRANSACTION_HASH_MISMATCH", put((0, "transactions", 0, "value"), "0x1")),
    ("HEADER_HASH_MISMATCH", put((0, "gasLimit"), "0x1")),
    ("SENDER_MISMATCH", put((0, "transactions", 0, "from"), BOB)),
]


@pytest.mark.parametrize(("code", "change"), DISAGREEING)
def test_what_disagrees_is_refused_with_its_code(code: str, change: Callable[[Any], None]) -> None:
    both = list(answers())

    change(both)

    assert code_of(*both) == code


MALFORMED: list[tuple[Path, Any, str]] = [
    ((0, "hash"), "0x12", "block.hash does not have 32 bytes"),
    ((0, "hash"), None, "block.hash is missing"),
    ((0, "number"), 16, "block.number is not a string"),
    ((0, "gasUsed"), "0x", "block.gasUsed is not a hex quantity"),
    ((0, "timestamp"), "0x8000000000000000", "out of range"),
    ((0, "baseFeePerGas"), "0x1" + "00" * 32, "block.baseFeePerGas is out of range"),
    ((0, "extraData"), "abcd", "block.extraData is not hex"),
    ((0, "parentBeaconBlockRoot"), ["0x"], "out of range"),
    ((0, "uncles"), {"0x": 1}, "uncles is not a list"),
    ((0, "uncles"), ["0x12"], r"uncles\[0\] does not have 32 bytes"),
    ((0, "transactions"), {"0x": 1}, "transactions is not a list"),
    ((0, "transactions", 1), "0x" + "12" * 32, r"transactions\[1\] is not an object"),
    ((0, "transactions", 1, "gas"), "-0x5", r"transactions\[1\].gas is not a hex quantity"),
    ((0, "transactions", 1, "to"), "0xzz", r"transactions\[1\].to is not hex"),
    ((0, "transactions", 1, "input"), "1234", r"transactions\[1\].input is not hex"),
    ((0, "transactions", 0, "nonce"), None, r"transactions\[0\].nonce is missing"),
    ((1,), {"a": 1}, "receipts is not a list"),
    ((1, 0, "status"), None, r"receipts\[0\] has neither status nor root"),
    ((1, 0, "status"), "0x2", "out of range"),
    ((1, 0, "logs"), {}, r"receipts\[0\].logs is not a list"),
    ((1, 0, "logs", 0), [], r"receipts\[0\].logs\[0\] is not an object"),
    ((1, 0, "logs", 0, "topics"), "0x12", r"topics is not a list"),
    ((1, 0, "logs", 0, "topics"), ["0x" + "12" * 32] * 5, "topics has more than 4 items"),
    ((1, 0, "logs", 0, "topics"), [None, "0x" + "12" * 32], r"topics\[0\] is not a string"),
    ((1, 0, "logs", 0, "topics"), ["0x12"], r"topics\[0\] does not have 32 bytes"),
    ((1, 0, "logs", 0, "address"), TOKEN + "00", r"logs\[0\].address does not have 20 bytes"),
    ((0,), [], "block is not an object"),
]


@pytest.mark.parametrize(("path", "value", "message"), MALFORMED)
def test_what_is_malformed_is_refused_by_the_name_of_its_field(path: Path, value: Any, message: str) -> None:
    both = list(answers())
    put(path, value)(both)

    with pytest.raises(PoisonError, match=message) as refused:
        judge(*both)

    assert refused.value.code == "MALFORMED_BLOCK"


def test_hex_in_capitals_and_with_leading_zeros_is_the_same_block() -> None:
    block, receipts = answers()
    plain = parse_block(*answers(), ETHEREUM)

    def shout(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: shout(value) for name, value in item.items()}
        if isinstance(item, list):
            return [shout(value) for value in item]
        return "0x" + item[2:].upper() if isinstance(item, str) else item

    for index, receipt in enumerate(receipts):
        receipt["transactionIndex"] = f"0x0{index}"
        for log in receipt["logs"]:
            log["logIndex"] = "0x0" + log["logIndex"][2:]
            log["transactionIndex"] = f"0x0{index}"
            log["blockNumber"] = "0x010"
    header, transactions, logs = parse_block(block, shout(receipts), ETHEREUM)

    assert (header, transactions, logs) == plain


def test_a_block_other_than_the_expected_is_refused() -> None:
    header, transactions, logs = parse_block(*answers(), ETHEREUM)

    with pytest.raises(VerificationError) as refused:
        verify(header, transactions, logs, ETHEREUM, mode="consistency", expected_hash=bytes(32))

    assert refused.value.code == "UNEXPECTED_HASH"
    assert verify(header, transactions, logs, ETHEREUM, "consistency", header.hash) == Proof.CONSISTENT


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    header, transactions, logs = parse_block(*answers(), ETHEREUM)
    doubled = copy.deepcopy(transactions)
    doubled.hash[1] = doubled.hash[0]

    for spoiled, code in (
        ((header, Transactions(hash=[bytes(32)]), logs), "RECEIPT_COUNT_MISMATCH"),
        ((header, doubled, logs), "TRANSACTION_HASH_DISAGREES"),
        ((header, transactions, Logs(log_index=[1], address=[bytes(20)])), "LOG_INDEX_GAP"),
        ((header, Transactions(), logs), "TRANSACTION_INDEX_DISAGREES"),
    ):
        with pytest.raises(VerificationError) as refused:
            verify(*spoiled, ETHEREUM, mode="consistency")
        assert refused.value.code == code


def test_columns_that_cannot_be_hashed_are_malformed() -> None:
    header, transactions, logs = parse_block(*answers(), ETHEREUM)
    transactions.value[0] = -1

    with pytest.raises(PoisonError) as refused:
        verify(header, transactions, logs, ETHEREUM)

    assert refused.value.code == "MALFORMED_BLOCK"


def test_the_sample_takes_one_sender_of_one_in_so_many_blocks() -> None:
    header, transactions, logs = parse_block(*answers(), ETHEREUM)

    drawn = verify(header, transactions, logs, ETHEREUM, sender_sample_every=1)
    never = verify(header, transactions, logs, ETHEREUM, sender_sample_every=1 << 60)

    assert Proof.SENDERS_SAMPLE in drawn
    assert Proof.SENDERS not in drawn
    assert Proof.SENDERS_SAMPLE not in never


# --- any single change that a hash or root covers is refused -------------------------------------------------------

COVERED = {
    "block": (
        *("number", "hash", "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot"),
        *("logsBloom", "difficulty", "gasLimit", "gasUsed", "timestamp", "extraData", "mixHash", "nonce"),
        *("baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot"),
        *("requestsHash", "extDataHash", "extDataGasUsed", "blockGasCost"),
    ),
    "transaction": (
        *("hash", "blockHash", "blockNumber", "transactionIndex", "from", "to", "nonce", "value", "gas", "input"),
        *("r", "s", "maxFeePerGas", "maxPriorityFeePerGas", "sourceHash"),
    ),
    "receipt": (
        *("transactionHash", "transactionIndex", "blockHash", "blockNumber", "status", "cumulativeGasUsed"),
        *("gasUsed", "contractAddress", "type"),
    ),
    "log": ("address", "data", "blockHash", "transactionHash", "transactionIndex", "logIndex", "blockNumber"),
}


@lru_cache(maxsize=1)
def gold() -> list[Json]:
    found = []
    for path in sorted(shared_data().glob("blocks/*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            found += [item for item in map(json.loads, lines) if item["grade"] == "gold"]
    return [item for item in found if len(item["block"]["transactions"]) <= 30]


def covered_fields(item: Json) -> Iterator[tuple[Json, str]]:
    def of(owner: Json, kind: str) -> Iterator[tuple[Json, str]]:
        return ((owner, name) for name in COVERED[kind] if owner.get(name) not in (None, "0x"))

    yield from of(item["block"], "block")
    for transaction, receipt in zip(item["block"]["transactions"], item["receipts"], strict=True):
        if item["chain_id"] == 137 and int(transaction["gas"], 16) == 0:
            continue  # the state-sync transaction: in no root
        # a deposit is hashed without a nonce, and without a signature, which it does not have
        open_to_change = ("nonce", "v", "r", "s") if transaction.get("type") == "0x7e" else ()
        yield from (field for field in of(transaction, "transaction") if field[1] not in open_to_change)
        if int(transaction.get("r") or "0x0", 16) == 0:
            continue
        yield from of(receipt, "receipt")
        for log in receipt["logs"]:
            yield from of(log, "log")


def test_there_are_gold_blocks_to_change() -> None:
    assert len(gold()) > 50


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_change_of_one_covered_digit_is_refused(data: st.DataObject) -> None:
    item = copy.deepcopy(gold()[data.draw(st.integers(0, len(gold()) - 1))])
    fields = list(covered_fields(item))
    owner, name = fields[data.draw(st.integers(0, len(fields) - 1))]
    text = owner[name]
    place = data.draw(st.integers(2, len(text) - 1))
    digit = data.draw(st.sampled_from([d for d in "0123456789abcdef" if d != text[place].lower()]))
    owner[name] = text[:place] + digit + text[place + 1 :]
    chain = rules_for(item["chain_id"])

    with pytest.raises(PoisonError):
        verify(*parse_block(item["block"], item["receipts"], chain), chain, mode="senders")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_dropped_or_doubled_row_is_refused(data: st.DataObject) -> None:
    item = copy.deepcopy(data.draw(st.sampled_from([i for i in gold() if i["receipts"]])))
    lists = [item["block"]["transactions"], item["receipts"], *(r["logs"] for r in item["receipts"])]
    rows = data.draw(st.sampled_from([rows for rows in lists if rows]))
    index = data.draw(st.integers(0, len(rows) - 1))
    rows[index : index + 1] = data.draw(st.sampled_from([[], [rows[index]] * 2]))
    chain = rules_for(item["chain_id"])

    last_of_state_sync = item["chain_id"] == 137 and rows is lists[-1]
    if not last_of_state_sync:
        with pytest.raises(PoisonError):
            verify(*parse_block(item["block"], item["receipts"], chain), chain)


# --- whatever comes, nothing but PoisonError -----------------------------------------------------------------------

texts = st.text(max_size=8) | st.from_regex(r"\A(0x)?[0-9a-fA-F]{0,80}\Z") | st.sampled_from(["0x", "0x0", "-0x1"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
garbage: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


@settings(max_examples=150, deadline=None)
@given(garbage, garbage)
def test_garbage_is_malformed(block: Any, receipts: Any) -> None:
    with pytest.raises(PoisonError) as refused:
        judge(block, receipts)

    assert refused.value.code == "MALFORMED_BLOCK"


def places(item: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    children = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for step, child in children:
        yield from places(child, (*path, step))


PLACES = [path for path in places(list(answers())) if path]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PLACES), garbage)
def test_garbage_anywhere_in_a_block_raises_nothing_but_poison(path: Path, value: Any) -> None:
    both = list(answers())
    put(path, value)(both)

    with suppress(PoisonError):
        assert Proof.HEADER_HASH in judge(*both)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([path for path in PLACES if isinstance(path[-1], str)]))
def test_a_missing_field_raises_nothing_but_poison(path: Path) -> None:
    both: Any = list(answers())
    item = both
    for step in path[:-1]:
        item = item[step]
    del item[path[-1]]

    with suppress(PoisonError):
        assert Proof.HEADER_HASH in judge(*both)
