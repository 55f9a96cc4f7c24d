"""A record without a checksum: its block is proven again, and stored only if it is genuine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from devchain.build import open_chain
from devchain.params import ChainParams
from indexer.abi.models import ModelSet
from indexer.abi.wrapped import wrapped_native
from indexer.chain.rules import rules_for
from indexer.checksum import sealed
from indexer.codec import encode_block, encode_rollback
from indexer.errors import PoisonError
from indexer.inflight import Record
from indexer.outputs import Headers
from indexer.records import DecodedBlock, DecodedEvents, Proof, Rollback
from indexer.topics import partition_of
from services.persister.handler import read
from services.persister.packed import PackedBlock, Pieces
from services.persister.proving import Prover
from tests.support.blocks import CHAIN, BlockMaker
from tests.support.native import compiled
from tests.support.storing import decoded

PARTITIONS = 4
PROVER = Prover(rules_for(CHAIN), wrapped=wrapped_native(CHAIN))


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> DecodedBlock:
    """A genuine block with transfers."""
    chain = open_chain(ChainParams(profile="mixed", blocks=12), tmp_path_factory.mktemp("chain"), jobs=1)
    blocks = (decoded(chain, number) for number in range(1, 13))
    return next(each for each in blocks if len(each.token_transfers.amount) > 2)


def record(block: DecodedBlock, headers: Headers = (), value: bytes | None = None) -> Record:
    partition = partition_of(block.header.number, PARTITIONS)
    return Record("blocks.decoded", partition, 0, b"k", value or encode_block(block), headers)


def code(block: DecodedBlock, prover: Prover = PROVER) -> str:
    found = read(record(block), prover, PARTITIONS)
    assert isinstance(found, PoisonError)
    return found.code


def proofs(block: DecodedBlock, prover: Prover = PROVER) -> Proof:
    found = read(record(block), prover, PARTITIONS)
    assert isinstance(found, PackedBlock)
    assert isinstance(found.content, DecodedBlock)
    return found.content.proofs


def test_a_genuine_block_is_stored_without_a_checksum(block: DecodedBlock) -> None:
    assert proofs(block) == block.proofs


def test_bytes_that_are_not_those_of_the_checksum_are_poison(block: DecodedBlock) -> None:
    found = read(record(block, sealed((), encode_block(replace(block, generation=1)))), PROVER, PARTITIONS)

    assert isinstance(found, PoisonError)
    assert found.code == "CHECKSUM_MISMATCH"


def test_a_block_with_its_checksum_is_not_proven_again(block: DecodedBlock) -> None:
    wrong = replace(block, header=replace(block.header, gas_used=1))
    found = read(record(wrong, sealed((), encode_block(wrong))), PROVER, PARTITIONS, compiled())

    assert isinstance(found, PackedBlock)
    assert isinstance(found.content, Pieces)


def dearer(block: DecodedBlock) -> DecodedBlock:
    columns = block.transactions
    return replace(block, transactions=replace(columns, value=[each + 1 for each in columns.value]))


def another_log(block: DecodedBlock) -> DecodedBlock:
    return replace(block, logs=replace(block.logs, data=[b"\x01" + each for each in block.logs.data]))


def more_tokens(block: DecodedBlock) -> DecodedBlock:
    columns = block.token_transfers
    return replace(block, token_transfers=replace(columns, amount=[each + 1 for each in columns.amount]))


def a_deposit_that_nobody_made(block: DecodedBlock) -> DecodedBlock:
    columns = block.token_transfers
    return replace(block, token_transfers=replace(columns, kind=["deposit", *columns.kind[1:]]))


def an_event(block: DecodedBlock) -> DecodedBlock:
    return replace(block, decoded_events=DecodedEvents([0], ["dex"], ["Swap"], ["{}"]))


def an_undecoded_log(block: DecodedBlock) -> DecodedBlock:
    return replace(block, undecoded_logs=[0])


def another_time(block: DecodedBlock) -> DecodedBlock:
    return replace(block, header=replace(block.header, timestamp=1))


@pytest.mark.parametrize(
    "altered",
    [dearer, another_log, more_tokens, a_deposit_that_nobody_made, an_event, an_undecoded_log, another_time],
)
def test_a_block_that_was_altered_is_poison(block: DecodedBlock, altered: Callable[[DecodedBlock], Any]) -> None:
    assert code(altered(block)) == "RECORD_NOT_GENUINE"


@pytest.mark.parametrize("altered", [more_tokens, a_deposit_that_nobody_made])
def test_transfers_of_other_models_must_follow_from_the_logs_too(
    block: DecodedBlock, altered: Callable[[DecodedBlock], DecodedBlock]
) -> None:
    assert proofs(replace(an_event(block), model_version=9)) == block.proofs
    assert code(replace(altered(block), model_version=9)) == "RECORD_NOT_GENUINE"


def test_what_the_record_claims_is_not_believed(block: DecodedBlock) -> None:
    claims_nothing = replace(block, proofs=Proof(0))
    claims_little = replace(block, proofs=Proof.CONSISTENT)

    assert proofs(claims_nothing) == proofs(claims_little)
    assert Proof.RECEIPTS_ROOT in proofs(claims_nothing)
    assert code(dearer(claims_little)) == "RECORD_NOT_GENUINE"


def test_where_only_consistency_is_asked_for_a_block_is_proven_that_claims_more(block: DecodedBlock) -> None:
    prover = Prover(rules_for(CHAIN), ModelSet(), wrapped_native(CHAIN), "consistency")
    claims_little = replace(block, proofs=Proof.CONSISTENT)

    assert proofs(dearer(claims_little), prover) == Proof.CONSISTENT
    assert code(dearer(block), prover) == "RECORD_NOT_GENUINE"


def test_senders_are_recovered_where_they_are_asked_for_or_claimed(block: DecodedBlock) -> None:
    senders = [bytes(20)] * len(block.transactions.hash)
    stranger = replace(block, transactions=replace(block.transactions, from_address=senders))
    unclaimed = replace(stranger, proofs=stranger.proofs & ~Proof.SENDERS)

    assert code(stranger) == "RECORD_NOT_GENUINE"
    assert code(unclaimed, replace(PROVER, mode="senders")) == "RECORD_NOT_GENUINE"


def test_another_chains_block_is_told_before_it_is_proven(block: DecodedBlock) -> None:
    assert code(block, Prover(rules_for(1))) == "OTHER_CHAIN"


def test_a_rollback_without_a_checksum_is_carried_out_and_an_altered_one_is_not() -> None:
    rollback = Rollback(CHAIN, 7, 3)
    value, other = encode_rollback(rollback), encode_rollback(replace(rollback, from_number=1))

    assert read(record(BlockMaker()(7), (), value), PROVER, PARTITIONS) == rollback
    altered = read(record(BlockMaker()(7), sealed((), value), other), PROVER, PARTITIONS)
    assert isinstance(altered, PoisonError)
    assert altered.code == "CHECKSUM_MISMATCH"
