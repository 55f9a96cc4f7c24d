"""Balances are brought right while a persister writes: neither loses what the other does (PROTOCOL 18)."""

from __future__ import annotations

import threading

import pytest

from indexer.settings import Settings
from indexer.storage import balances, engine
from indexer.storage.balances import Key
from indexer.storage.engine import Connection
from tests.support.deployment import CHAIN_ID
from tests.support.rows import insert_blocks
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

TOKEN, NOBODY, ANNA, BERT = (bytes([n]) * 20 for n in (9, 0, 1, 2))
HEIGHTS = {1, 2}
KEYS: list[Key] = [(TOKEN, 0, ANNA), (TOKEN, 0, BERT)]


@pytest.fixture(autouse=True)
def blocks(migrated: Settings) -> None:
    """The blocks of these tests' transfers."""
    with engine.connect(migrated, "test", autocommit=True) as connection:
        insert_blocks(connection, HEIGHTS, CHAIN_ID)


def test_a_transfer_that_is_committed_while_we_wait_is_in_the_sum(migrated: Settings) -> None:
    with engine.connect(migrated, "test") as persister, engine.connect(migrated, "test", autocommit=True) as us:
        transfer(persister, 1, NOBODY, ANNA, 10)
        persister.commit()
        us.execute("UPDATE balances SET balance = 77")
        transfer(persister, 2, ANNA, BERT, 4)  # holds the balances' rows
        ours = threading.Thread(target=balances.repair, args=(us, CHAIN_ID, KEYS))
        ours.start()
        with engine.connect(migrated, "test", autocommit=True) as look:
            wait_for(lambda: waits(look, us.info.backend_pid), 10, "the repair waits for the persister")

        persister.commit()
        ours.join(10)

        assert held(us) == {ANNA: 6, BERT: 4}
        assert list(balances.wrong_keys(us, CHAIN_ID)) == []


def test_a_persister_that_comes_while_we_hold_the_rows_adds_to_the_sum(migrated: Settings) -> None:
    with engine.connect(migrated, "test") as persister, engine.connect(migrated, "test", autocommit=True) as us:
        transfer(persister, 1, NOBODY, ANNA, 10)
        persister.commit()
        us.execute("UPDATE balances SET balance = 77")
        writes = threading.Thread(target=transfer, args=(persister, 2, ANNA, BERT, 4))

        def locked() -> None:
            writes.start()
            with engine.connect(migrated, "test", autocommit=True) as look:
                wait_for(lambda: waits(look, persister.info.backend_pid), 10, "the persister waits for the repair")

        balances.repair(us, CHAIN_ID, KEYS, locked)
        writes.join(10)
        persister.commit()

        assert held(us) == {ANNA: 6, BERT: 4}


def test_balances_are_locked_in_key_order(migrated: Settings) -> None:
    with engine.connect(migrated, "test") as persister, engine.connect(migrated, "test", autocommit=True) as us:
        transfer(persister, 1, NOBODY, ANNA, 10)
        transfer(persister, 1, ANNA, BERT, 4, log=1)
        persister.commit()
        persister.execute("UPDATE balances SET balance = balance WHERE holder = %s", (BERT,))
        ours = threading.Thread(target=balances.repair, args=(us, CHAIN_ID, list(reversed(KEYS))))
        ours.start()
        with engine.connect(migrated, "test", autocommit=True) as look:
            wait_for(lambda: waits(look, us.info.backend_pid), 10, "the repair waits for the persister")
            free = "SELECT holder FROM balances WHERE holder = %s FOR UPDATE SKIP LOCKED"
            taken = look.execute(free, (ANNA,)).fetchall() == []

        persister.rollback()
        ours.join(10)

        assert taken
        assert held(us) == {ANNA: 6, BERT: 4}


def test_a_balance_without_transfers_is_nothing(database: Connection) -> None:
    database.execute("INSERT INTO balances VALUES (%s, %s, 3, %s, 5)", (CHAIN_ID, TOKEN, ANNA))

    wrong = list(balances.wrong_keys(database, CHAIN_ID))
    balances.repair(database, CHAIN_ID, wrong)

    assert wrong == [(TOKEN, 3, ANNA)]
    assert held(database) == {ANNA: 0}


def test_transfers_without_their_block_are_in_no_balance(migrated: Settings) -> None:
    with engine.connect(migrated, "test", autocommit=True) as us:
        transfer(us, 1, NOBODY, ANNA, 10)
        transfer(us, 2, ANNA, BERT, 4)  # its balances too, as who sums up all rows has them
        us.execute("DELETE FROM blocks WHERE number = 2")

        wrong = list(balances.wrong_keys(us, CHAIN_ID))
        balances.repair(us, CHAIN_ID, wrong)

        assert wrong == KEYS
        assert held(us) == {ANNA: 10, BERT: 0}


def transfer(persister: Connection, number: int, sender: bytes, receiver: bytes, amount: int, *, log: int = 0) -> None:
    """Store a transfer and its balances as a persister does, without committing."""
    persister.execute(
        "INSERT INTO token_transfers VALUES (%s, %s, %s, 0, %s, %s, %s, 'erc20', 'transfer', 0, %s)",
        (CHAIN_ID, number, log, TOKEN, sender, receiver, amount),
    )
    for holder, delta in ((sender, -amount), (receiver, amount)):
        if holder != NOBODY:
            persister.execute(
                "INSERT INTO balances AS b VALUES (%s, %s, 0, %s, %s)"
                " ON CONFLICT (chain_id, token_address, token_id, holder) DO UPDATE"
                " SET balance = b.balance + excluded.balance",
                (CHAIN_ID, TOKEN, holder, delta),
            )


def waits(look: Connection, pid: int) -> bool:
    row = look.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone()
    return row is not None and bool(row[0])


def held(connection: Connection) -> dict[bytes, int]:
    return {
        bytes(holder): int(balance) for holder, balance in connection.execute("SELECT holder, balance FROM balances")
    }
