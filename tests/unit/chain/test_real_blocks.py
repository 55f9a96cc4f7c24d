"""Blocks that real chains produced are proven, and tampered ones refused (../shared/data)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from indexer.chain.errors import VerificationError
from indexer.chain.header import header_hash
from indexer.chain.parse import parse_block, parse_header, parse_transactions
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify, verify_header, verify_transactions
from indexer.records import Proof
from tests.support.shared_data import shared_data

HEADER_AND_TRANSACTIONS = Proof.HEADER_HASH | Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT
GOLD = HEADER_AND_TRANSACTIONS | Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM | Proof.GAS_USED | Proof.CONSISTENT
GOLD |= Proof.CONTRACT_ADDRESSES | Proof.SENDERS

Recorded = dict[str, Any]


def recorded(pattern: str) -> Iterator[Recorded]:
    for path in sorted(shared_data().glob(pattern)):
        with gzip.open(path, "rt") as lines:
            yield from map(json.loads, lines)


def blocks(grade: str) -> list[Recorded]:
    return [item for item in recorded("blocks/*.jsonl.gz") if item["grade"] == grade]


def block(chain_id: int, number: int) -> Recorded:
    for item in recorded("blocks/*.jsonl.gz"):
        if item["chain_id"] == chain_id and int(item["block"]["number"], 16) == number:
            return item
    raise LookupError(number)


def prove(item: Recorded, mode: Any = "senders") -> Proof:
    chain = rules_for(item["chain_id"])
    return verify(*parse_block(item["block"], item["receipts"], chain), chain, mode=mode)


def prove_what_there_is(item: Recorded) -> Proof:
    if item["receipts"] is not None:
        return prove(item)
    chain = rules_for(item["chain_id"])
    header, transactions = parse_header(item["block"], chain), parse_transactions(item["block"], chain)
    return verify_header(header) | verify_transactions(header, transactions, chain)


def test_every_gold_block_is_proven() -> None:
    gold = blocks("gold")

    for item in gold:
        assert prove(item) & GOLD == GOLD, (item["chain_id"], item["block"]["number"])

    assert len(gold) > 70


def test_blocks_without_receipts_have_a_genuine_header_and_transactions() -> None:
    for item in blocks("header+txs"):
        assert prove_what_there_is(item) == HEADER_AND_TRANSACTIONS


def test_the_first_2048_blocks_of_ethereum_are_proven_and_linked() -> None:
    chain, parent = rules_for(1), bytes(32)

    for item in recorded("contiguous/*.jsonl.gz"):
        header, transactions, logs = parse_block(item["block"], item["receipts"], chain)
        assert verify(header, transactions, logs, chain) & GOLD == GOLD & ~Proof.SENDERS
        assert header.parent_hash == parent
        parent = header.hash


def test_the_effective_gas_price_is_proven_where_the_rule_is_known() -> None:
    assert Proof.EFFECTIVE_GAS_PRICE in prove(block(1, 18500000))
    assert Proof.EFFECTIVE_GAS_PRICE in prove(block(10, 154497277))
    assert Proof.EFFECTIVE_GAS_PRICE not in prove(block(42161, 150000000))


def test_polygons_state_sync_transaction_is_in_neither_root_and_not_refused() -> None:
    item = block(137, 10000000)

    proofs = prove(item)

    assert proofs & GOLD == GOLD
    assert item["block"]["transactions"][-1]["from"] == "0x" + "00" * 20


def test_after_helicon_the_receipts_of_a_block_are_not_measured_against_its_header() -> None:
    item = block(43113, 58119344)
    only = item["block"]["transactions"][0]
    receipt = {
        **{name: only[name] for name in ("blockHash", "blockNumber", "transactionIndex", "type")},
        "transactionHash": only["hash"],
        **{"gasUsed": "0x5208", "cumulativeGasUsed": "0x5208", "status": "0x1", "effectiveGasPrice": "0xb"},
        **{"contractAddress": None, "logs": []},
    }

    proofs = prove({**item, "receipts": [receipt]})

    unproven = Proof.RECEIPTS_ROOT | Proof.LOGS_BLOOM | Proof.GAS_USED | Proof.EFFECTIVE_GAS_PRICE
    assert proofs & HEADER_AND_TRANSACTIONS == HEADER_AND_TRANSACTIONS
    assert not proofs & unproven


# What each of the negative blocks is refused for. Three of them have no receipts: they are refused by their header,
# by the transactions or by the withdrawals, before any receipt is looked at.
REFUSALS = {
    "two receipts lost their logs": "LOG_INDEX_GAP",
    "post-shanghai-bad-transactions-hash": "HEADER_HASH_MISMATCH",
    "post-shanghai-bad-transactions ": "BLOCK_HASH_DISAGREES",
    "post-shanghai-bad-withdrawals": "WITHDRAWALS_ROOT_MISMATCH",
    "receipts do not match the transactions": "RECEIPT_COUNT_MISMATCH",
}


@pytest.mark.parametrize(("defect", "code"), list(REFUSALS.items()))
def test_a_tampered_block_is_refused(defect: str, code: str) -> None:
    item = next(item for item in recorded("negative/*.jsonl.gz") if item["defect"].startswith(defect))

    with pytest.raises(VerificationError) as refused:
        prove_what_there_is(item)

    assert refused.value.code == code


def test_blocks_as_coreth_answers_them_have_the_hash_that_it_says() -> None:
    seen = 0
    for path in sorted((shared_data() / "coreth").glob("eth_get*By*.json")):
        answer = json.loads(path.read_text())
        if not answer or answer.get("hash") is None:
            continue

        header = parse_header(answer, rules_for(43114))

        assert header_hash(header) == header.hash, path.name
        seen += 1
    assert seen > 10


def test_a_block_and_its_transactions_as_coreth_answers_them() -> None:
    path = shared_data() / "coreth" / "eth_getBlockByHash-hash-latest-1-fullTx.json"
    answer = json.loads(path.read_text())
    # a test network of its own, whose transactions name no chain
    chain = rules_for(43112)

    header, transactions = parse_header(answer, chain), parse_transactions(answer, chain)

    assert verify_transactions(header, transactions, chain) == HEADER_AND_TRANSACTIONS & ~Proof.HEADER_HASH
