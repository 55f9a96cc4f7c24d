"""Stored rows give back the columns that were proven, so that they can be proven again from the tables alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from devchain.build import open_chain
from devchain.chainfile import ChainFile
from devchain.params import ChainParams
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.records import DecodedBlock, Header, Logs, Transactions
from indexer.settings import Settings
from indexer.storage.jobs import Connection
from indexer.storage.stored import load_block
from tests.support.storing import decoded, store

pytestmark = pytest.mark.integration

# of all kinds of headers: Avalanche's before Etna (100) and before Granite (200), and one after; 250 is large
NUMBERS = [*range(40), *range(90, 110), *range(195, 205), 250]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainFile]:
    chain = open_chain(ChainParams(profile="mixed", blocks=250), tmp_path_factory.mktemp("chains"), jobs=1)
    yield chain
    chain.close()


def columns(struct: Header | Transactions | Logs) -> dict[str, Any]:
    """The columns by name; JSON as what it says, since jsonb orders keys its own way."""
    found = {each.name: getattr(struct, each.name) for each in fields(struct)}
    for name in ("extra", "receipt_extra"):
        if isinstance(found.get(name), list):
            found[name] = [None if cell is None else json.loads(cell) for cell in found[name]]
    return found


def assert_the_same(stored: tuple[Header, Transactions, Logs], block: DecodedBlock) -> None:
    header, transactions, logs = stored
    assert columns(header) == columns(block.header)
    assert columns(transactions) == columns(block.transactions)
    assert columns(logs) == columns(block.logs)


def test_blocks_come_back_as_they_were_and_are_proven_again(
    mixed: ChainFile, migrated: Settings, database: Connection
) -> None:
    blocks = [decoded(mixed, number) for number in NUMBERS]
    proofs = [block.proofs for block in blocks]
    store(migrated, blocks)

    for block, proof in zip(blocks, proofs, strict=True):
        stored = load_block(database, mixed.chain_id, block.header.number)

        assert stored is not None
        assert_the_same(stored, block)
        assert verify(*stored, rules_for(mixed.chain_id), "senders", block.header.hash) == proof


def test_a_block_that_is_not_stored_is_none(mixed: ChainFile, migrated: Settings, database: Connection) -> None:
    store(migrated, [decoded(mixed, 7)])

    assert load_block(database, mixed.chain_id, 8) is None
    assert load_block(database, 1, 7) is None


def test_an_empty_block_has_columns_without_rows(mixed: ChainFile, migrated: Settings, database: Connection) -> None:
    store(migrated, [decoded(mixed, 0)])

    stored = load_block(database, mixed.chain_id, 0)

    assert stored is not None
    assert stored[1:] == (Transactions(), Logs())
