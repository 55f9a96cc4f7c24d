"""A block's rows are proven again, and what was derived from its logs comes out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from devchain.build import open_chain
from devchain.chainfile import ChainFile
from devchain.endpoint import read
from devchain.params import ChainParams
from indexer.abi.models import ModelSet
from indexer.abi.wrapped import wrapped_native
from indexer.audit.against_node import differences
from indexer.audit.rows import Decoding, StoredBlock, attention_of, proven, transfers_of, wrongly_derived
from indexer.chain.rules import rules_for
from indexer.errors import PoisonError
from indexer.records import Logs, Proof
from tests.support.storing import decoded

DECODING = Decoding(ModelSet(), wrapped_native(43114))
RULES = rules_for(43114)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainFile]:
    chain = open_chain(ChainParams(profile="mixed", blocks=12), tmp_path_factory.mktemp("chain"), jobs=1)
    yield chain
    chain.close()


@pytest.fixture
def block(chain: ChainFile) -> StoredBlock:
    """A block with transfers, as the database gives it back."""
    return stored(chain, next(n for n in range(12, 0, -1) if decoded(chain, n).token_transfers.log_index))


def stored(chain: ChainFile, number: int) -> StoredBlock:
    made = decoded(chain, number)
    count = len(made.transactions.hash)
    return StoredBlock(
        made.header, made.transactions, made.logs, count, len(made.logs.log_index), int(made.proofs), 0, 1,
        list(range(count)), list(transfers_of(made.token_transfers)),
    )  # fmt: skip


def answers(chain: ChainFile, number: int) -> tuple[Any, Any]:
    raw = chain.block(number), chain.receipts(number)
    assert raw[0] is not None
    assert raw[1] is not None
    return orjson.loads(read(raw[0])), orjson.loads(read(raw[1]))


def test_genuine_rows_are_proven(block: StoredBlock) -> None:
    assert Proof.RECEIPTS_ROOT | Proof.TRANSACTIONS_ROOT | Proof.SENDERS in proven(block, RULES)
    assert wrongly_derived(block, DECODING) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda b: replace(b, transaction_count=b.transaction_count + 1), "ROWS_INCOMPLETE"),
        (lambda b: replace(b, log_count=b.log_count - 1), "ROWS_INCOMPLETE"),
        (lambda b: replace(b, transaction_indexes=[i + 1 for i in b.transaction_indexes]), "ROWS_INCOMPLETE"),
        (lambda b: replace(b, header=replace(b.header, gas_limit=1)), "HEADER_HASH_MISMATCH"),
        (lambda b: replace(b, proofs=1 << 20), "PROOFS_CLAIMED"),
    ],
)
def test_altered_rows_are_not(block: StoredBlock, change: Callable[[StoredBlock], StoredBlock], code: str) -> None:
    with pytest.raises(PoisonError) as caught:
        proven(change(block), RULES)
    assert caught.value.code == code


def test_each_derived_table_is_compared(block: StoredBlock) -> None:
    harmed = replace(block, transfers=[], events=[(0, "m", "E", "{}")], attention=[(0, "X", [0])], undecoded_logs=3)

    assert wrongly_derived(harmed, DECODING) == [
        "token_transfers", "decoded_events", "blocks.undecoded_logs", "transaction_processing",
    ]  # fmt: skip


def test_of_a_block_that_other_models_decoded_only_plain_transfers_are_compared(block: StoredBlock) -> None:
    others = replace(block, model_version=2, events=[(0, "m", "E", "{}")])
    deposit = (*block.transfers[0][:6], "deposit", *block.transfers[0][7:])

    assert wrongly_derived(others, DECODING) == []
    assert wrongly_derived(replace(others, transfers=[*block.transfers, deposit]), DECODING) == []
    assert wrongly_derived(replace(others, transfers=[]), DECODING) == ["token_transfers"]


def test_marks_are_by_transaction() -> None:
    logs = Logs(log_index=[0, 1, 2], transaction_index=[4, 4, 5])

    assert attention_of(logs, [2, 1, 0, 1]) == [(4, "UNDECODED_LOG", [0, 1]), (5, "UNDECODED_LOG", [2])]


def test_every_column_is_compared_with_the_node(chain: ChainFile, block: StoredBlock) -> None:
    number = block.header.number
    raw = answers(chain, number)
    harmed = replace(block, header=replace(block.header, size=1))
    harmed.transactions.receipt_extra[0] = '{"a":1}'

    assert differences(stored(chain, number), *raw, RULES) == []
    assert differences(harmed, *raw, RULES) == ["blocks.size", "transactions.receipt_extra"]
    assert differences(stored(chain, number - 1), *raw, RULES) == ["blocks.hash"]
