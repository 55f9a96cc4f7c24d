"""What no decoder writes is found also where no hash covers it, and whatever stands there is no error but a finding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.abi.models import ModelSet
from indexer.audit.cells import unfit
from indexer.audit.rows import Decoding, StoredBlock, proven, transfers_of, wrongly_derived
from indexer.chain.parse import parse_block, parse_header, parse_transactions
from indexer.chain.rules import rules_for
from indexer.errors import PoisonError
from indexer.records import Header, Logs, Transactions
from tests.unit.chain.builders import ACCESS_LIST, ZEROS, Json, a_log, authorization, receipt_of, sealed, signed
from tests.unit.chain.test_real_blocks import recorded

ETHEREUM = rules_for(1)
FEES = {"maxFeePerGas": 100, "maxPriorityFeePerGas": 3}
BLOBS = {"maxFeePerBlobGas": 5, "blobVersionedHashes": ["0x01" + "ab" * 31]}
Columns = tuple[Header, Transactions, Logs]


def answers() -> tuple[Json, list[Json]]:
    """A block of a transaction of each type, the last of which fails to create a contract."""
    sent = [
        signed(ETHEREUM, gasPrice=50)[0],
        signed(ETHEREUM, type=1, nonce=8, gasPrice=50, accessList=ACCESS_LIST)[0],
        signed(ETHEREUM, type=2, nonce=9, **FEES)[0],
        signed(ETHEREUM, type=3, nonce=10, accessList=[], **FEES, **BLOBS)[0],
        signed(ETHEREUM, type=4, nonce=11, **FEES, authorizationList=[authorization(ETHEREUM)])[0],
    ]
    receipts = [receipt_of(each, [a_log(1)]) for each in sent]
    return sealed(ETHEREUM, sent, receipts, parentBeaconBlockRoot=ZEROS, withdrawalsRoot=None)


GENUINE = parse_block(*answers(), ETHEREUM)


def stored(columns: Columns) -> StoredBlock:
    header, transactions, logs = columns
    count = len(transactions.hash)
    return StoredBlock(header, transactions, logs, count, len(logs.log_index), 0, 0, 1, list(range(count)))


def wrong(columns: Columns) -> list[str]:
    return list(unfit(*columns, ETHEREUM))


def in_extra(index: int, change: Callable[[Json], object]) -> Callable[[Columns], object]:
    def alter(columns: Columns) -> None:
        extra = orjson.loads(columns[1].extra[index] or "{}")
        change(extra)
        columns[1].extra[index] = orjson.dumps(extra).decode()

    return alter


ALTERED: dict[str, tuple[Callable[[Columns], object], str]] = {
    "a cap of a legacy transaction": (lambda c: set_(c[1].max_fee_per_gas, 0, 50), "max_fee_per_gas"),
    "a tip of type 1": (lambda c: set_(c[1].max_priority_fee_per_gas, 1, 0), "max_priority_fee_per_gas"),
    "fields of a legacy transaction": (lambda c: set_(c[1].extra, 0, '{"chainId":"0x2"}'), "transactions.extra"),
    "no field at all": (lambda c: set_(c[1].extra, 0, "{}"), "transactions.extra"),
    "an unknown field": (in_extra(1, lambda e: e.update(memo="0x1")), "transactions.extra"),
    "a field of another type": (in_extra(1, lambda e: e.update(sourceHash=ZEROS)), "transactions.extra"),
    "our own chain id": (in_extra(1, lambda e: e.update(chainId="0x1")), "transactions.extra"),
    "a member of an access list": (in_extra(1, lambda e: e["accessList"][0].update(a="0x")), "transactions.extra"),
    "a member of an authorization": (
        in_extra(4, lambda e: e["authorizationList"][0].update(v="0x7")),
        "transactions.extra",
    ),
    "another spelling": (in_extra(3, lambda e: e.update(maxFeePerBlobGas="0x05")), "transactions.extra"),
    "an empty access list": (in_extra(3, lambda e: e.update(accessList=[])), "transactions.extra"),
    "an unknown field of a receipt": (lambda c: set_(c[1].receipt_extra, 0, '{"memo":1}'), "receipt_extra"),
    "an unknown field of a header": (lambda c: c[0].extra.update(memo="0x1"), "blocks.extra"),
    "a column's name among a header's own fields": (
        lambda c: c[0].extra.update(base_fee_per_gas="0x05"),
        "blocks.extra",
    ),
    "a field of another kind of header": (lambda c: c[0].extra.update(auraStep="0x1"), "blocks.extra"),
    "a receiver of no bytes": (lambda c: set_(c[1].to_address, 1, b""), "to_address"),
    "a topic after a missing one": (lambda c: set_(c[2].topic2, 0, c[2].topic0[0]), "logs.topic2"),
    "no number": (lambda c: set_(c[1].value, 0, Decimal("NaN")), "transactions.value"),
    "a negative size": (lambda c: setattr(c[0], "size", -1), "blocks.size"),
}


def set_(column: list[Any], index: int, value: Any) -> None:
    column[index] = value


@pytest.mark.parametrize(("alter", "column"), ALTERED.values(), ids=ALTERED.keys())
def test_what_no_decoder_writes_is_found(alter: Callable[[Columns], object], column: str) -> None:
    columns = copy.deepcopy(GENUINE)
    alter(columns)

    assert [each for each in wrong(columns) if column in each]
    with pytest.raises(PoisonError) as found:
        proven(stored(columns), ETHEREUM)
    assert found.value.code == "ROWS_IMPOSSIBLE"


def test_what_a_decoder_writes_is_well() -> None:
    assert wrong(GENUINE) == []
    assert proven(stored(GENUINE), ETHEREUM)


def test_an_avalanche_header_has_no_withdrawals() -> None:
    columns = copy.deepcopy(GENUINE)
    columns[0].extra, columns[0].withdrawals_root = {"extDataHash": ZEROS}, bytes(32)

    assert wrong(columns) == ["blocks.withdrawals_root"]


def parsed(item: Json) -> Columns:
    chain, block = rules_for(item["chain_id"]), item["block"]
    if item["receipts"] is not None:
        return parse_block(block, item["receipts"], chain)
    transactions = parse_transactions(block, chain)
    return parse_header(block, chain), transactions, Logs()


@pytest.mark.parametrize("pattern", ["blocks/*.jsonl.gz", "contiguous/*.jsonl.gz"])
def test_no_block_of_a_real_chain_is_called_wrong(pattern: str) -> None:
    for item in recorded(pattern):
        found = list(unfit(*parsed(item), rules_for(item["chain_id"])))
        assert found == [], (item["chain_id"], item["block"]["number"])


def told_by_another_node() -> tuple[Json, list[Json]]:
    """The same block as a node tells it that fills in fields which are not of the type, and spells its own way."""
    block, receipts = answers()
    for each in block["transactions"]:
        if each["type"] in ("0x0", "0x1"):
            each |= {"maxFeePerGas": each["gasPrice"], "maxPriorityFeePerGas": "0x0"}
        each |= {"sourceHash": ZEROS, "mint": "0x0", "isSystemTx": False, "memo": "0x1"}
        each |= {} if each["type"] == "0x3" else {"blobVersionedHashes": [], "maxFeePerBlobGas": "0x0"}
    for entry in block["transactions"][4]["authorizationList"]:
        entry |= {"v": entry["yParity"], "memo": "0x1"}
        entry["nonce"] = "0x0" + entry["nonce"][2:]
    block |= {"extDataGasUsed": "0x0", "auraStep": 7, "parentBeaconBlockRoot": ZEROS.upper().replace("X", "x")}
    return block, receipts


def test_the_same_block_told_by_another_node_is_the_same() -> None:
    told = parse_block(*told_by_another_node(), ETHEREUM)

    assert told == GENUINE


def text_of(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits
        return "1" * 30


# what each kind of column of PostgreSQL may give back
NUMERICS = st.integers(0, 10**78 - 1) | st.integers(-(10**78), -1) | st.just(Decimal("NaN"))
INTEGERS = st.integers(-(2**63), 2**63 - 1)
BYTES = st.binary(max_size=40)
DEEP = "[" * 5000 + "]" * 5000
FIELD = st.sampled_from(["accessList", "address", "storageKeys", "chainId", "authorizationList", "auraSeal", "mint"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELD, inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text(max_size=5)
CELLS = st.none() | NUMERICS | INTEGERS | BYTES | JSON.map(text_of) | st.just(DEEP) | st.lists(BYTES)


def cells() -> Iterator[tuple[str, str]]:
    for table, kind in (("header", Header), ("transactions", Transactions), ("logs", Logs)):
        yield from ((table, each.name) for each in fields(kind))


@pytest.mark.parametrize("chain_id", [1, 25, 43114, 42161])
@given(column=st.sampled_from(list(cells())), value=CELLS, parsed_extra=JSON)
def test_whatever_stands_in_a_column_is_a_finding_at_most(
    chain_id: int, column: tuple[str, str], value: Any, parsed_extra: Any
) -> None:
    block, rules = stored(copy.deepcopy(GENUINE)), rules_for(chain_id)
    owner = getattr(block, column[0])
    if column[0] == "header":
        setattr(owner, column[1], parsed_extra if column[1] == "extra" else value)
    else:
        getattr(owner, column[1])[0] = value

    try:
        proven(block, rules)
        wrongly_derived(block, Decoding(ModelSet(), frozenset()))
    except PoisonError:
        pass


@given(amount=NUMERICS, token_id=NUMERICS, args=TEXTS | JSON.map(text_of), marks=st.lists(st.none() | INTEGERS))
def test_whatever_stands_in_a_derived_row_is_a_finding_at_most(
    amount: Any, token_id: Any, args: str, marks: list[int | None]
) -> None:
    block = stored(copy.deepcopy(GENUINE))
    decoding = Decoding(ModelSet(), frozenset())
    block.transfers = [(*each[:7], token_id, amount) for each in transfers_of(decoding.decode(block).token_transfers)]
    block.transfers.append((0, 7, b"", b"", b"", "erc20", "transfer", token_id, amount))
    block.events = [(0, "m", "E", args)]
    block.attention = [(0, "X", marks)]  # type: ignore[list-item]  # what the database may hold

    assert wrongly_derived(block, decoding) == ["token_transfers", "decoded_events", "transaction_processing"]
