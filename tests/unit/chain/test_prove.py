"""Compiled code proves what `parse_block` and `verify` prove, packs as the codec does, and leaves the rest to them.

Token transfers, too, are compared for every block here; test_prove_transfers.py has odd ones.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest
import rlp as reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devchain.build import open_chain
from devchain.params import PROFILES, ChainParams, Profile
from devchain.store import Slice
from indexer.abi.standards import DEPOSIT, TRANSFER, token_transfers
from indexer.abi.wrapped import wrapped_native
from indexer.chain.keccak import keccak256
from indexer.chain.parse import parse_block
from indexer.chain.prove import Proven, Unread, Wanted, genuine_header, prove
from indexer.chain.rules import ChainRules, Family, rules_for
from indexer.chain.verify import verify
from indexer.codec import encode_block
from indexer.errors import PoisonError
from indexer.records import DecodedBlock, Logs, Proof, TokenTransfers
from indexer.rpc.raw import transactions_of
from tests.support.native import compiled
from tests.unit.chain.builders import (
    ACCESS_LIST,
    ALICE,
    BOB,
    TOKEN,
    ZEROS,
    a_log,
    authorization,
    hexed,
    receipt_of,
    sealed,
    signed,
)
from tests.unit.chain.test_real_blocks import recorded

Json = dict[str, Any]
Answers = tuple[Json, list[Json]]

ETHEREUM, AVALANCHE = rules_for(1), rules_for(43114)
FEES = {"type": 2, "maxFeePerGas": 100, "maxPriorityFeePerGas": 3}
BLOBS = {"maxFeePerBlobGas": 5, "blobVersionedHashes": ["0x01" + "ab" * 31]}


@pytest.fixture(scope="module")
def native() -> ModuleType:
    return compiled()


def by_python(answers: Answers, chain: ChainRules) -> Proven | None:
    try:
        header, transactions, logs = parse_block(*answers, chain)
        proofs = verify(header, transactions, logs, chain, sender_sample_every=1)
    except PoisonError:
        return None
    return Proven(header, transactions, logs, proofs)


def by_native(native: ModuleType, answers: Answers, chain: ChainRules) -> Proven | None:
    header = genuine_header(answers[0], chain)
    return None if header is None else prove(native, header, unread(answers), chain, wanted(chain), sample_every=1)


def wanted(chain: ChainRules) -> Wanted:
    return Wanted(wrapped_native(chain.chain_id), frozenset({TRANSFER, DEPOSIT}))


def unread(answers: Answers) -> Unread:
    return Unread(answers[0], transactions_of(answers[0]), *map(_written, answers))


def _written(answer: Any) -> bytes:
    return json.dumps(answer).encode()  # takes what orjson refuses to write, half of a surrogate pair


def encoded(block: Proven, transfers: TokenTransfers | None = None) -> bytes:
    record = DecodedBlock(1, block.header, block.transactions, block.logs, proofs=block.proofs)
    return encode_block(replace(record, token_transfers=transfers or TokenTransfers()), block.packed)


def only(logs: Logs, topics: frozenset[bytes]) -> Logs:
    """Return the logs with one of these first topics."""
    chosen = [i for i, topic in enumerate(logs.topic0) if topic in topics]
    return Logs(*([getattr(logs, name)[i] for i in chosen] for name in Logs.__slots__))


def is_proven_alike(native: ModuleType, answers: Answers, chain: ChainRules) -> bool:
    """Whether compiled code proved the block; if it did, Python does, and of both comes the same."""
    ours = by_native(native, answers, chain)
    if ours is None:
        return False
    expected = by_python(answers, chain)
    assert expected is not None
    assert (ours.header, ours.proofs) == (expected.header, expected.proofs)
    assert ours.logs == only(expected.logs, wanted(chain).topics)
    assert encoded(ours) == encoded(expected, token_transfers(expected.logs, wanted(chain).wrapped))
    return True


def simulated(folder: Path, **params: Any) -> list[Answers]:
    made = ChainParams(**params)
    chain = open_chain(made, folder, jobs=1)
    return [(_json(chain.block(n)), _json(chain.receipts(n))) for n in range(made.blocks + 1)]


def _json(answer: Slice | bytes | None) -> Any:
    assert answer is not None
    return orjson.loads(os.pread(answer.fd, answer.size, answer.offset) if isinstance(answer, Slice) else answer)


def contract(**fields: Any) -> Answers:
    """A block in which Alice creates a contract; `fields` are of its receipt."""
    transaction, _ = signed(ETHEREUM, gasPrice=50, to=None)
    created = keccak256(reference.encode([bytes.fromhex(ALICE.address[2:]), 7]))[12:]
    receipt = receipt_of(transaction, **{"contractAddress": hexed(created)} | fields)
    return sealed(ETHEREUM, [transaction | {"to": None}], [receipt])


def usual(logs: int = 3) -> Answers:
    """A block of one legacy and one dynamic fee transaction, the first with logs."""
    first, _ = signed(ETHEREUM, gasPrice=50)
    second, _ = signed(ETHEREUM, **FEES, nonce=8)
    receipts = [receipt_of(first, [a_log(topics) for topics in range(logs)]), receipt_of(second)]
    return sealed(ETHEREUM, [first, second], receipts)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("seed", "ethereum"), [(1, False), (2, True)])
def test_every_block_of_a_simulated_chain_is_proven_alike(
    native: ModuleType, tmp_path: Path, profile: Profile, seed: int, ethereum: bool
) -> None:
    blocks = simulated(tmp_path, profile=profile, seed=seed, ethereum=ethereum, blocks=40)

    assert all(is_proven_alike(native, answers, AVALANCHE) for answers in blocks)


def test_a_huge_block_is_proven_alike(native: ModuleType, tmp_path: Path) -> None:
    blocks = simulated(tmp_path, blocks=3, huge_at=2, huge_bytes=700_000)

    assert is_proven_alike(native, blocks[2], AVALANCHE)


def test_recorded_blocks_of_usual_transactions_are_proven_alike(native: ModuleType) -> None:
    taken, left = 0, []
    for item in recorded("blocks/*.jsonl.gz"):
        if item["receipts"] is not None:
            if is_proven_alike(native, (item["block"], item["receipts"]), rules_for(item["chain_id"])):
                taken += 1
            else:
                left.append(item["chain_id"])

    assert taken > 70
    assert set(left) <= {10, 8453, 137, 999, 42161}  # of deposits, state-sync, system and internal transactions


def test_the_first_2048_blocks_of_ethereum_are_proven_alike(native: ModuleType) -> None:
    blocks = recorded("contiguous/*.jsonl.gz")

    assert all(is_proven_alike(native, (item["block"], item["receipts"]), ETHEREUM) for item in blocks)


def test_recorded_blocks_that_are_tampered_with_are_not_proven(native: ModuleType) -> None:
    for item in recorded("negative/*.jsonl.gz"):
        if item["receipts"] is not None:
            assert by_native(native, (item["block"], item["receipts"]), rules_for(item["chain_id"])) is None


TYPES: dict[str, Json] = {
    "legacy, long input": {"gasPrice": 50, "data": "0x" + "ab" * 5000},
    "legacy, one small byte of input": {"gasPrice": 50, "data": "0x01"},
    "legacy, nothing": {"gasPrice": 0, "data": "0x", "value": 0, "gas": 0, "nonce": 0},
    "legacy, the largest value": {"gasPrice": 2**255, "value": 2**256 - 1},
    "access list": {"type": 1, "gasPrice": 50, "accessList": ACCESS_LIST},
    "access list, long": {"type": 1, "gasPrice": 50, "accessList": ACCESS_LIST * 40},
    "access list, empty": {"type": 1, "gasPrice": 50, "accessList": []},
    "dynamic fee, access list": {**FEES, "accessList": ACCESS_LIST},
    "dynamic fee, up to the cap": {**FEES, "maxFeePerGas": 8},
    "blobs": {**FEES, "type": 3, **BLOBS, "accessList": []},
    "set code": {**FEES, "type": 4, "accessList": ACCESS_LIST, "authorizationList": [authorization(ETHEREUM)]},
}


@pytest.mark.parametrize("fields", TYPES.values(), ids=TYPES.keys())
@pytest.mark.parametrize("between", [False, True])
def test_transactions_of_every_usual_type_are_proven_alike(native: ModuleType, fields: Json, between: bool) -> None:
    made = [signed(ETHEREUM, **each)[0] for each in ([{"gasPrice": 1}, fields, FEES] if between else [fields])]
    answers = sealed(ETHEREUM, made, [receipt_of(each, [a_log(data="0x05")]) for each in made])

    assert is_proven_alike(native, answers, ETHEREUM)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 127, 128, 129, 256, 257, 300])
def test_blocks_of_any_number_of_transactions_are_proven_alike(native: ModuleType, count: int) -> None:
    made = [signed(ETHEREUM, gasPrice=50, nonce=nonce)[0] for nonce in range(count)]

    assert is_proven_alike(native, sealed(ETHEREUM, made, [receipt_of(each) for each in made]), ETHEREUM)


def test_transactions_and_logs_of_any_length_are_proven_alike(native: ModuleType) -> None:
    lengths = range(300)  # beyond two blocks of the hash, whose ends are padded in every way
    made = [signed(ETHEREUM, gasPrice=50, data="0x" + "ab" * length)[0] for length in lengths]
    receipts = [
        receipt_of(each, [a_log(data="0x" + "cd" * length)]) for each, length in zip(made, lengths, strict=True)
    ]
    numbered = [
        receipt | {"logs": [receipt["logs"][0] | {"logIndex": hex(index)}]} for index, receipt in enumerate(receipts)
    ]

    assert is_proven_alike(native, sealed(ETHEREUM, made, numbered), ETHEREUM)


@pytest.mark.parametrize("kinds", [(0, 0), (0, 2), (1, 2), (1, 1)])
def test_fees_that_a_node_fills_in_for_types_without_them_are_left_out_alike(
    native: ModuleType, kinds: tuple[int, int]
) -> None:
    fields = {0: {"gasPrice": 50}, 1: {"type": 1, "gasPrice": 50, "accessList": ACCESS_LIST}, 2: FEES}
    made = [signed(ETHEREUM, **fields[kind], nonce=nonce)[0] for nonce, kind in enumerate(kinds)]
    answers = sealed(ETHEREUM, made, [receipt_of(each) for each in made])
    plain = parse_block(*answers, ETHEREUM)
    for transaction in answers[0]["transactions"]:
        transaction.setdefault("maxFeePerGas", "0x32")
        transaction.setdefault("maxPriorityFeePerGas", "0x32")

    assert is_proven_alike(native, answers, ETHEREUM)
    assert parse_block(*answers, ETHEREUM) == plain


RECEIPTS: dict[str, Json] = {
    "failed": {"status": "0x0"},
    "before Byzantium": {"status": None, "root": "0x" + "99" * 32},
    "price not told": {"effectiveGasPrice": None},
    "type not told": {"type": None},
    "fields that are kept": {"l1Fee": "0x5", "blobGasUsed": "0x1"},
    "fields that are not kept": {"timeboosted": False},
}


@pytest.mark.parametrize("fields", RECEIPTS.values(), ids=RECEIPTS.keys())
def test_receipts_of_any_age_and_client_are_proven_alike(native: ModuleType, fields: Json) -> None:
    first, second = (signed(ETHEREUM, gasPrice=50, nonce=nonce)[0] for nonce in range(2))
    answers = sealed(ETHEREUM, [first, second], [receipt_of(first, [a_log()]), receipt_of(second, **fields)])

    assert is_proven_alike(native, answers, ETHEREUM)


def test_a_created_contract_is_proven_alike(native: ModuleType) -> None:
    assert is_proven_alike(native, contract(), ETHEREUM)
    assert is_proven_alike(native, contract(status="0x0"), ETHEREUM)
    assert is_proven_alike(native, contract(status="0x0", contractAddress=None), ETHEREUM)


def test_a_block_of_logs_with_every_number_of_topics_is_proven_alike(native: ModuleType) -> None:
    assert is_proven_alike(native, usual(logs=5), ETHEREUM)


def test_gas_before_refunds_is_not_measured(native: ModuleType) -> None:
    transaction, _ = signed(ETHEREUM, gasPrice=50)
    fields = {"gasUsed": "0x9999", "blockAccessListHash": ZEROS}

    assert is_proven_alike(native, sealed(ETHEREUM, [transaction], [receipt_of(transaction)], **fields), ETHEREUM)


def test_prices_are_measured_where_the_rule_is_known(native: ModuleType) -> None:
    transaction, _ = signed(ETHEREUM, gasPrice=50)
    answers = sealed(ETHEREUM, [transaction], [receipt_of(transaction, effectiveGasPrice="0x51")])

    assert is_proven_alike(native, answers, ChainRules(1, Family.UNKNOWN))
    assert by_native(native, answers, ETHEREUM) is None


def test_chains_with_rows_outside_of_the_roots_are_left_to_python(native: ModuleType) -> None:
    assert by_native(native, usual(), ChainRules(1, Family.HYPERLIQUID)) is None
    assert by_native(native, usual(), ChainRules(1, Family.FOREIGN)) is None


def test_a_block_of_another_hash_than_expected_is_left_to_python() -> None:
    block, _ = usual()

    assert genuine_header(block, ETHEREUM, bytes.fromhex(block["hash"][2:])) is not None
    assert genuine_header(block, ETHEREUM, bytes(32)) is None


Alter = Callable[[Json, list[Json]], Any]

# What no hash of the block covers, so that only a check of its own finds it.
UNCOVERED: dict[str, Alter] = {
    "a sender who did not sign": lambda block, receipts: [each.update({"from": BOB}) for each in block["transactions"]],
    "a transaction of another block": lambda block, receipts: block["transactions"][1].update(blockHash=ZEROS),
    "a transaction of another height": lambda block, receipts: block["transactions"][1].update(blockNumber="0x11"),
    "a transaction out of order": lambda block, receipts: block["transactions"][1].update(transactionIndex="0x0"),
    "a receipt of another block": lambda block, receipts: receipts[1].update(blockHash=ZEROS),
    "a receipt of another height": lambda block, receipts: receipts[1].update(blockNumber="0x11"),
    "a receipt out of order": lambda block, receipts: receipts[1].update(transactionIndex="0x0"),
    "a receipt of another transaction": lambda block, receipts: receipts[1].update(transactionHash=ZEROS),
    "a receipt of another type": lambda block, receipts: receipts[1].update(type="0x1"),
    "gas that does not add up": lambda block, receipts: receipts[0].update(gasUsed="0x5207"),
    "a price that was not paid": lambda block, receipts: receipts[1].update(effectiveGasPrice="0xb"),
    "a contract that nobody created": lambda block, receipts: receipts[1].update(contractAddress=TOKEN),
    "a log of another block": lambda block, receipts: receipts[0]["logs"][0].update(blockHash=ZEROS),
    "a log of another height": lambda block, receipts: receipts[0]["logs"][0].update(blockNumber="0x11"),
    "a log of another receipt": lambda block, receipts: receipts[0]["logs"][0].update(transactionIndex="0x1"),
    "a log of another transaction": lambda block, receipts: receipts[0]["logs"][0].update(transactionHash=ZEROS),
    "a log out of order": lambda block, receipts: receipts[0]["logs"][0].update(logIndex="0x1"),
    "a log that was removed": lambda block, receipts: receipts[0]["logs"][0].update(removed=True),
    "a receipt too many": lambda block, receipts: receipts.append(receipts[-1]),
    "a receipt too few": lambda block, receipts: receipts.pop(),
    "a gas price of another transaction": lambda block, receipts: block["transactions"][1].update(nonce="0x9"),
    "a log that is not there": lambda block, receipts: receipts[0]["logs"].pop(),
    "another status": lambda block, receipts: receipts[1].update(status="0x0"),
}


@pytest.mark.parametrize("alter", UNCOVERED.values(), ids=UNCOVERED.keys())
def test_an_answer_that_python_refuses_is_not_proven(native: ModuleType, alter: Alter) -> None:
    answers = usual()
    assert is_proven_alike(native, answers, ETHEREUM)

    alter(*answers)

    assert by_python(answers, ETHEREUM) is None
    assert by_native(native, answers, ETHEREUM) is None


@pytest.mark.parametrize("fields", [{"contractAddress": None}, {"contractAddress": TOKEN}])
def test_a_contract_at_another_address_is_not_proven(native: ModuleType, fields: Json) -> None:
    assert by_native(native, contract(**fields), ETHEREUM) is None


def test_a_header_whose_roots_are_of_something_else_is_not_proven(native: ModuleType) -> None:
    for name, value in {"transactionsRoot": ZEROS, "receiptsRoot": ZEROS, "gasUsed": "0x1"}.items():
        first, _ = signed(ETHEREUM, gasPrice=50)
        answers = sealed(ETHEREUM, [first], [receipt_of(first)], **{name: value})

        assert genuine_header(answers[0], ETHEREUM) is not None
        assert by_native(native, answers, ETHEREUM) is None


def test_a_bloom_filter_of_something_else_is_not_proven(native: ModuleType) -> None:
    block, receipts = usual()
    header = genuine_header(block, ETHEREUM)
    assert header is not None

    header.logs_bloom = bytes(256)

    assert prove(native, header, unread((block, receipts)), ETHEREUM, wanted(ETHEREUM)) is None


def test_the_sample_is_drawn_as_python_draws_it(native: ModuleType) -> None:
    drawn = [Proof.SENDERS_SAMPLE in block.proofs for block in map(_sampled(native), range(24))]

    assert True in drawn
    assert False in drawn


def _sampled(native: ModuleType) -> Callable[[int], Proven]:
    def make(nonce: int) -> Proven:
        transaction, _ = signed(ETHEREUM, gasPrice=50, nonce=nonce)
        block, receipts = sealed(ETHEREUM, [transaction], [receipt_of(transaction)])
        header = genuine_header(block, ETHEREUM)
        assert header is not None
        found = prove(native, header, unread((block, receipts)), ETHEREUM, wanted(ETHEREUM))
        assert found is not None
        assert found.proofs == verify(*parse_block(block, receipts, ETHEREUM), ETHEREUM)
        return found

    return make


ODD = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    st.sampled_from(
        ["0x", "0x0", "0x00", "0X1", "1", "0xg", "0x-1", " 0x1", "0x1_0", "\ud800", "0x" + "f" * 65, [], {}]
    ),
    st.integers(0, 2**260).map(hex),
    st.binary(max_size=40).map(hexed),
    st.lists(st.one_of(st.none(), st.just("0x1"), st.just({})), max_size=5),
)


def _alter(value: Any, data: st.DataObject) -> Any:
    """Change one thing, somewhere in a JSON value."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 12)):
        name = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 9)):
            return value | {name: _alter(value[name], data)}
        return {key: each for key, each in value.items() if key != name}
    if isinstance(value, list) and value and data.draw(st.integers(0, 12)):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], _alter(value[at], data), *value[at + 1 :]]
    if isinstance(value, str) and len(value) > 2 and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        how = data.draw(st.sampled_from(["change", "cut", "case", "double"]))
        other = {"change": data.draw(st.sampled_from("0f1xX_ é")), "cut": "", "case": value[at].swapcase()}
        return value[:at] + other.get(how, value[at] * 2) + value[at + 1 :]
    return data.draw(ODD)


def _bases() -> list[Answers]:
    typed = [signed(ETHEREUM, **each)[0] for each in TYPES.values()]
    many = sealed(ETHEREUM, typed, [receipt_of(each, [a_log(3), a_log(4)]) for each in typed])
    return [usual(), contract(), many]


BASES = _bases()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answer_altered_anywhere_is_proven_alike_or_left_to_python(native: ModuleType, data: st.DataObject) -> None:
    block, receipts = copy.deepcopy(data.draw(st.sampled_from(BASES)))
    if data.draw(st.booleans()):
        receipts = _alter(receipts, data)
    else:
        block["transactions"] = _alter(block["transactions"], data)

    is_proven_alike(native, (block, receipts), ETHEREUM)


def proven_as_written(native: ModuleType, block: bytes, receipts: bytes) -> Proven | None:
    own = orjson.loads(usual_written()[0])
    header = genuine_header(own, ETHEREUM)
    assert header is not None
    return prove(native, header, Unread(own, 2, block, receipts), ETHEREUM, wanted(ETHEREUM), sample_every=1)


def usual_written() -> tuple[bytes, bytes]:
    block, receipts = usual()
    return orjson.dumps(block), orjson.dumps(receipts)


def test_white_space_and_the_order_of_members_mean_nothing(native: ModuleType) -> None:
    def reverse(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: reverse(value[name]) for name in reversed(value)}
        return [reverse(each) for each in value] if isinstance(value, list) else value

    block, receipts = (json.dumps(reverse(each), indent="\t").encode() for each in usual())

    assert proven_as_written(native, block, receipts) == proven_as_written(native, *usual_written())
    assert proven_as_written(native, b" \r\n" + block + b"\n", receipts + b" ") is not None


# Text of both answers, and what no node writes in its place though it may be JSON.
ODDLY_WRITTEN = {
    "a doubled member": (b'"nonce":', b'"nonce":"0x0","nonce":'),
    "doubled logs": (b'"logs":', b'"logs":[],"logs":'),
    "doubled transactions": (b'"transactions":', b'"transactions":[],"transactions":'),
    "an escape in hex": (b'"input":"0x', b'"input":"\\u0030x'),
    "an escape in a name": (b'"nonce":', b'"n\\u006fnce":'),
    "an escape in the hash of a receipt's block": (b'"blockHash":"0x', b'"blockHash":"\\u0030x'),
    "a number for a string": (b'"logIndex":"0x1"', b'"logIndex":1'),
    "half an escape": (b'"status":"0x1"', b'"status":"0x1","x":"\\u12"'),
    "a control character": (b'"status":"0x1"', b'"status":"0x1","x":"\n"'),
    "no UTF-8": (b'"status":"0x1"', b'"status":"0x1","x":"\xff"'),
    "deep nesting": (b'"status":"0x1"', b'"status":"0x1","x":' + b"[" * 100 + b"]" * 100),
    "a comma too many": (b"}]", b"},]"),
    "no comma": (b'"status":"0x1",', b'"status":"0x1"'),
}


@pytest.mark.parametrize(("text", "odd"), ODDLY_WRITTEN.values(), ids=ODDLY_WRITTEN.keys())
def test_what_no_node_writes_is_left_to_python(native: ModuleType, text: bytes, odd: bytes) -> None:
    written = usual_written()
    assert proven_as_written(native, *written) is not None
    assert any(text in each for each in written)

    block, receipts = (each.replace(text, odd) for each in written)

    assert proven_as_written(native, block, receipts) is None


def test_answers_that_are_cut_off_or_go_on_are_left_to_python(native: ModuleType) -> None:
    block, receipts = usual_written()

    for length in lengths_below(len(block)):
        assert proven_as_written(native, block[:length], receipts) is None
    for length in lengths_below(len(receipts)):
        assert proven_as_written(native, block, receipts[:length]) is None
    assert proven_as_written(native, block + b"x", receipts) is None
    assert proven_as_written(native, block, receipts + b"x") is None


def lengths_below(size: int) -> list[int]:
    """Return every fifth length, and every one near the end."""
    return [*range(0, size - 200, 5), *range(size - 200, size)]


@pytest.mark.parametrize("garbage", [None, 5, "0x", [], {}, [None], {"transactions": [None]}, {"hash": 1}])
def test_garbage_is_left_to_python_and_raises_nothing(native: ModuleType, garbage: Any) -> None:
    block, receipts = usual()
    header = genuine_header(block, ETHEREUM)
    assert header is not None

    assert genuine_header(garbage, ETHEREUM) is None
    assert native.prove_block(_written(garbage), _written(receipts), object()) is None
    assert prove(native, header, unread((block, garbage)), ETHEREUM, wanted(ETHEREUM)) is None
    without = unread((block | {"transactions": garbage}, receipts))
    assert prove(native, header, without, ETHEREUM, wanted(ETHEREUM)) is None
