"""The expected hash and the generation of heights come from one statement."""

from __future__ import annotations

import pytest

from indexer.storage.engine import Connection
from indexer.storage.headers import Expected, expected
from tests.support.deployment import CHAIN_ID

pytestmark = pytest.mark.integration

HASH, PARENT = bytes(31) + b"\x01", bytes(32)


def test_a_height_without_a_header_has_the_chains_generation_and_no_hash(database: Connection) -> None:
    database.execute("INSERT INTO chain_state (chain_id, generation) VALUES (%s, 7)", (CHAIN_ID,))
    database.execute("INSERT INTO headers VALUES (%s, 11, %s, %s, 5)", (CHAIN_ID, HASH, PARENT))

    found = expected(database, CHAIN_ID, [10, 11])

    assert found == {10: Expected(None, 7), 11: Expected(HASH, 5)}


def test_a_chain_that_nobody_follows_has_generation_0(database: Connection) -> None:
    assert expected(database, CHAIN_ID, [3]) == {3: Expected(None, 0)}
