"""`indexer verify` finds each defect that is planted into a stored chain, and nothing in one that is sound."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web

from devchain.build import open_chain
from devchain.client import Devchain
from devchain.params import ChainParams
from indexer.jobs.ranges import Ranges
from indexer.settings import Settings
from indexer.storage import engine, following, jobs
from tests.support.command_line import Command, Ran
from tests.support.deployment import own_database
from tests.support.fake_node import FakeNode
from tests.support.storing import decoded, store

pytestmark = pytest.mark.integration

HEAD = 40
CHECKS = ["gaps", "parent links", "counts", "balances", "roots", "ledger"]


@dataclass(frozen=True)
class Node:
    """A devchain, the database in which its blocks 0–40 are stored, and the folder of the chain's file."""

    devchain: Devchain
    template: str
    cache: Path


@pytest.fixture(scope="module")
def node(postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    cache = tmp_path_factory.mktemp("chains")
    chain = open_chain(ChainParams(profile="mixed", blocks=HEAD), cache, jobs=1)
    with (
        own_database(postgres, migrated_template) as settings,
        Devchain.simulated(profile="mixed", blocks=HEAD, cache=cache) as devchain,
    ):
        store(settings, [decoded(chain, number) for number in range(HEAD + 1)])
        chain.close()
        yield Node(devchain, _name(settings), cache)


@pytest.fixture
def stored(postgres: str, node: Node) -> Iterator[Settings]:
    """Settings with a copy of the stored chain, and its node."""
    with own_database(postgres, node.template) as settings:
        yield replace(settings, rpc_urls=(node.devchain.url,))


def _name(settings: Settings) -> str:
    return urlsplit(settings.database_url).path.lstrip("/")


@contextmanager
def changing(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    with engine.connect(settings, "test", autocommit=True) as connection:
        yield connection


def plant(settings: Settings, *statements: str) -> None:
    with changing(settings) as connection:
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount == 1, statement


def wrong(ran: Ran) -> dict[str, list[str]]:
    """What each check found wrong, of the checks that found something."""
    return {each["check"]: each["problems"] for each in ran.json()["checks"] if each["wrong"]}


def test_a_sound_store_has_nothing_wrong(stored: Settings, command: Command) -> None:
    ran = command(stored, "verify")

    assert ran.code == 0
    *lines, last = ran.out.splitlines()
    assert [line[:5] for line in lines] == ["ok   "] * len(CHECKS)
    assert [line[6:20].strip() for line in lines] == CHECKS
    assert all(line.endswith(", 0 wrong") for line in lines)
    assert last == f"blocks 0–{HEAD}: nothing wrong"


def test_everything_in_reach_is_looked_at(stored: Settings, command: Command) -> None:
    ran = command(stored, "verify", "--from", 0, "--json", "--sample", 2000)

    report = ran.json()
    looked_at = {each["check"]: each["looked_at"] for each in report["checks"]}
    assert (ran.code, report["from"], report["to"]) == (0, 0, HEAD)
    with changing(stored) as connection:
        row = connection.execute(
            "SELECT count(DISTINCT (token_address, token_id, holder)) FROM position_entries"
        ).fetchone()
    assert row is not None
    assert looked_at["gaps"] == looked_at["counts"] == looked_at["roots"] == HEAD + 1
    assert looked_at["parent links"] == HEAD
    assert looked_at["balances"] == row[0]
    assert looked_at["ledger"] > 100
    assert {each["skipped"] for each in report["checks"]} == {0}


def test_a_part_of_the_chain_is_a_chain(sampled: Settings, command: Command) -> None:
    assert command(sampled, "verify", "--from", 1, "--to", 10).code == 0
    assert command(sampled, "verify", "--from", 21, "--to", 31).code == 0


def test_a_range_of_which_little_is_stored_is_looked_at_as_fast(stored: Settings, command: Command) -> None:
    ran = command(stored, "verify", "--from", 1, "--to", 10**12, "--offline", "--json")

    assert wrong(ran) == {"gaps": [f"blocks {HEAD + 1}–{10**12} are not stored"]}
    assert {each["check"]: each["looked_at"] for each in ran.json()["checks"]}["counts"] == HEAD


def test_without_a_node_the_database_is_checked_alone(stored: Settings, command: Command) -> None:
    ran = command(replace(stored, rpc_urls=()), "verify", "--offline", "--json")

    assert ran.code == 0
    assert [each["check"] for each in ran.json()["checks"]] == CHECKS[:4]


def test_missing_blocks_are_named(stored: Settings, command: Command) -> None:
    with changing(stored) as connection:
        connection.execute("DELETE FROM blocks WHERE number IN (7, 20, 21, 22, 40)")

    ran = command(stored, "verify", "--to", HEAD, "--offline", "--json")

    assert ran.code == 1
    found = wrong(ran)
    assert found["gaps"] == ["blocks 7–7 are not stored", "blocks 20–22 are not stored", "blocks 40–40 are not stored"]
    assert ran.json()["checks"][0]["wrong"] == 5
    assert set(found) == {"gaps", "balances"}  # their transfers are still in the balances


@pytest.fixture
def sampled(postgres: str, migrated_template: str, node: Node) -> Iterator[Settings]:
    """Settings with a store of some blocks of the node's chain, as a manifest leaves it, and its job."""
    chain = open_chain(ChainParams(profile="mixed", blocks=HEAD), node.cache, jobs=1)
    with own_database(postgres, migrated_template) as settings:
        store(settings, [decoded(chain, number) for number in (*range(1, 11), *range(21, 32), 35)])
        chain.close()
        with changing(settings) as connection:
            job(connection, "done", [(1, 11), (21, 32), (35, 36)])
        yield replace(settings, rpc_urls=(node.devchain.url,))


def job(connection: psycopg.Connection[Any], state: str, pairs: list[tuple[int, int]]) -> None:
    made = jobs.create_job(connection, jobs.NewJob(43114, Ranges.of(pairs)))
    connection.execute("UPDATE processing_jobs SET state = %s WHERE id = %s", (state, made))


def test_blocks_that_nobody_asked_for_are_no_gaps_and_upset_no_sum(sampled: Settings, command: Command) -> None:
    ran = command(sampled, "verify", "--json", "--sample", 2000)

    assert (ran.code, wrong(ran)) == (0, {})
    looked_at = {each["check"]: each["looked_at"] for each in ran.json()["checks"]}
    assert looked_at["gaps"] == looked_at["roots"] == 22
    assert looked_at["ledger"] > 20


def test_a_range_that_is_named_must_be_stored_whole(sampled: Settings, command: Command) -> None:
    ran = command(sampled, "verify", "--from", 5, "--to", 30, "--json")

    assert ran.code == 1
    assert wrong(ran) == {"gaps": ["blocks 11–20 are not stored"]}


def test_blocks_of_a_job_that_is_done_are_missing_and_those_of_others_not_yet(
    sampled: Settings, command: Command
) -> None:
    with changing(sampled) as connection:
        job(connection, "running", [(11, 15)])
        job(connection, "done", [(34, 39)])
        connection.execute("DELETE FROM blocks WHERE number = 25")

    ran = command(sampled, "verify", "--offline", "--json")

    assert ran.code == 1
    assert wrong(ran) == {
        "gaps": ["blocks 25–25 are not stored", "blocks 34–34 are not stored", "blocks 36–38 are not stored"]
    }


def test_what_was_followed_and_is_on_the_chain_must_be_stored(sampled: Settings, command: Command) -> None:
    with changing(sampled) as connection:
        head = following.start(connection, 43114, 30, None)
        connection.execute("INSERT INTO chain_state (chain_id, canonical_to) VALUES (43114, 34)")
        connection.execute(
            """
            INSERT INTO job_coverage (job_id, stripe, chain_id, wanted, stored, dead)
            VALUES (%s, 0, 43114, (%s)::bigint::bit(64), 0::bigint::bit(64), 0::bigint::bit(64))
            """,
            (head, (1 << 40) - (1 << 30)),
        )

    ran = command(sampled, "verify", "--offline", "--json")

    assert wrong(ran) == {"gaps": ["blocks 32–34 are not stored"]}


def test_the_report_for_people_names_the_defect(stored: Settings, command: Command) -> None:
    plant(stored, "DELETE FROM blocks WHERE number = 7")

    ran = command(stored, "verify", "--from", 0, "--offline")

    assert ran.code == 1
    assert ran.out.splitlines()[:2] == [
        "WRONG gaps           41 looked at, 1 wrong",
        "        blocks 7–7 are not stored",
    ]
    assert "nothing wrong" not in ran.out


def test_an_altered_parent_hash_is_found_without_a_node(stored: Settings, command: Command) -> None:
    plant(stored, "UPDATE blocks SET parent_hash = sha256(parent_hash) WHERE number = 12")

    ran = command(stored, "verify", "--offline", "--json")

    assert ran.code == 1
    assert wrong(ran) == {"parent links": ["block 12: its parent is not the stored block 11"]}


def test_a_block_of_another_fork_is_found_by_the_node(stored: Settings, command: Command) -> None:
    plant(stored, "UPDATE blocks SET hash = sha256(hash) WHERE number = 40")

    ran = command(stored, "verify", "--json")

    assert ran.code == 1
    (problem,) = wrong(ran).pop("roots")
    assert problem.startswith("block 40: ")
    assert problem.endswith("[UNEXPECTED_HASH]")


@pytest.fixture
def deaf(node: Node) -> Iterator[None]:
    """For this test, the node has no block but 40 to show."""
    node.devchain.faults(null_blocks=list(range(HEAD)))
    yield
    node.devchain.faults(reset=True)


@pytest.mark.usefixtures("deaf")
def test_a_node_that_answers_for_no_block_proves_nothing(stored: Settings, command: Command) -> None:
    ran = command(stored, "verify", "--to", HEAD - 1)
    report = command(stored, "verify", "--to", HEAD - 1, "--json")

    assert (ran.code, report.code) == (1, 1)
    assert "NONE  roots          0 looked at, 40 could not be asked, 0 wrong" in ran.out.splitlines()
    assert "roots: the node answered for none of 40 blocks: use an archive node or --offline" in ran.out
    assert "nothing wrong" not in ran.out
    assert [each["check"] for each in report.json()["checks"] if not each["passed"]] == ["roots"]


@pytest.mark.usefixtures("deaf")
def test_a_node_that_answers_for_some_blocks_proves_those(stored: Settings, command: Command) -> None:
    ran = command(stored, "verify", "--to", HEAD)

    assert ran.code == 0
    assert "ok    roots          1 looked at, 40 could not be asked, 0 wrong" in ran.out.splitlines()


def test_a_deleted_log_is_found(stored: Settings, command: Command) -> None:
    with changing(stored) as connection:
        row = connection.execute(
            "SELECT number, transaction_count, log_count FROM blocks WHERE log_count > 2 ORDER BY number LIMIT 1"
        ).fetchone()
        assert row is not None
        number, transactions, logs = row
        connection.execute("DELETE FROM logs WHERE block_number = %s AND log_index = 1", (number,))

    ran = command(stored, "verify", "--json")

    assert ran.code == 1
    found = wrong(ran)
    assert found["counts"] == [
        f"block {number}: {transactions} of {transactions} transactions, {logs - 1} of {logs} logs"
    ]
    (problem,) = found["roots"]
    assert problem.startswith(f"block {number}: ")
    assert problem.endswith("[LOG_INDEX_GAP]")


@pytest.mark.parametrize(
    ("table", "change", "code"),
    [
        ("transactions", "value = value + 1", "TRANSACTION_HASH_MISMATCH"),
        ("transactions", "input = input || '\\x00'", "TRANSACTION_HASH_MISMATCH"),
        ("transactions", "receipt_status = 1 - receipt_status", "RECEIPTS_ROOT_MISMATCH"),
        ("logs", "data = data || '\\x00'", "RECEIPTS_ROOT_MISMATCH"),
    ],
)
def test_an_altered_row_is_found_by_the_roots(
    stored: Settings, command: Command, table: str, change: str, code: str
) -> None:
    with changing(stored) as connection:
        row = connection.execute("SELECT max(number) FROM blocks WHERE log_count > 0").fetchone()
    assert row is not None
    index = "transaction_index" if table == "transactions" else "log_index"
    plant(stored, f"UPDATE {table} SET {change} WHERE block_number = {row[0]} AND {index} = 0")

    ran = command(stored, "verify", "--json")

    assert ran.code == 1
    (problem,) = wrong(ran).pop("roots")
    assert problem.startswith(f"block {row[0]}: ")
    assert problem.endswith(f"[{code}]")
    assert command(stored, "verify", "--offline").code == 0


def test_an_altered_header_is_found_by_its_hash(stored: Settings, command: Command) -> None:
    plant(stored, "UPDATE blocks SET gas_limit = gas_limit + 1 WHERE number = 30")

    (problem,) = wrong(command(stored, "verify", "--json"))["roots"]

    assert problem.startswith("block 30: ")
    assert problem.endswith("[HEADER_HASH_MISMATCH]")


_ONE_TRANSFER = """
    SELECT token_address, holder, token_id FROM balances
    WHERE balance > 0 AND token_id = 0 ORDER BY token_address, holder LIMIT 1
"""


def test_an_altered_balance_is_not_the_sum_of_its_transfers(stored: Settings, command: Command) -> None:
    with changing(stored) as connection:
        row = connection.execute(_ONE_TRANSFER).fetchone()
        assert row is not None
        connection.execute(
            "UPDATE balances SET balance = balance + 1 WHERE token_address = %s AND holder = %s AND token_id = %s", row
        )

    ran = command(stored, "verify", "--offline", "--json")

    assert ran.code == 1
    assert wrong(ran) == {
        "balances": [f"holder 0x{row[1].hex()} of token {row[0].hex()}: the balance is not the sum of its transfers"]
    }


def test_an_altered_transfer_is_found_by_the_balances_and_by_the_node(stored: Settings, command: Command) -> None:
    sender, receiver, token = _alter_a_transfer(stored)

    ran = command(stored, "verify", "--json", "--sample", 2000)

    assert ran.code == 1
    found = wrong(ran)
    assert found.keys() == {"balances", "ledger"}
    holders = {problem.split()[1] for problem in found["balances"]}
    assert holders == {f"0x{sender.hex()}", f"0x{receiver.hex()}"}
    assert {problem.split()[0] for problem in found["ledger"]} == holders
    assert all(f"of erc20 0x{token.hex()}: ledger " in problem for problem in found["ledger"])


def test_transfers_and_balances_altered_alike_are_found_by_the_node(stored: Settings, command: Command) -> None:
    sender, receiver, token = _alter_a_transfer(stored)
    with changing(stored) as connection:
        for holder, change in ((sender, -1), (receiver, 1)):
            connection.execute(
                """
                INSERT INTO balances AS b VALUES (43114, %s, 0, %s, %s)
                ON CONFLICT (chain_id, token_address, token_id, holder) DO UPDATE SET balance = b.balance + %s
                """,
                (token, holder, change, change),
            )

    ran = command(stored, "verify", "--json", "--sample", 2000)

    assert ran.code == 1
    assert wrong(ran).keys() == {"ledger"}


def _alter_a_transfer(settings: Settings) -> tuple[bytes, bytes, bytes]:
    """Add one to an ERC-20 transfer between two holders; return them and the token."""
    with changing(settings) as connection:
        row = connection.execute(
            r"""
            UPDATE token_transfers t SET amount = t.amount + 1
            FROM (SELECT block_number, log_index FROM token_transfers
                  WHERE standard = 'erc20' AND kind = 'transfer' AND from_address <> to_address
                    AND from_address <> '\x0000000000000000000000000000000000000000'
                    AND to_address <> '\x0000000000000000000000000000000000000000'
                  ORDER BY 1, 2 LIMIT 1) AS chosen
            WHERE t.block_number = chosen.block_number AND t.log_index = chosen.log_index
            RETURNING t.from_address, t.to_address, t.token_address
            """
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


# what stands in the way of looking


def one_line(ran: Ran, code: int) -> str:
    assert ran.code == code
    (line,) = ran.err.splitlines()
    assert "Traceback" not in ran.out + ran.err
    return line


def test_a_node_out_of_reach_is_one_line(stored: Settings, command: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/secret"

    ran = command(replace(stored, rpc_urls=(url,)), "verify")

    assert one_line(ran, 1) == "error: no node answers (127.0.0.1: Connection refused): check RPC_URLS"
    assert ran.out == ""  # told before the database is looked at


def test_the_next_node_is_asked_when_the_first_is_out_of_reach(stored: Settings, command: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"

    assert command(replace(stored, rpc_urls=(dead, *stored.rpc_urls)), "verify").code == 0


def test_a_node_of_another_chain_is_one_line(stored: Settings, node: Node, command: Command) -> None:
    node.devchain.faults(chain_id=1)
    try:
        ran = command(stored, "verify")
    finally:
        node.devchain.faults(reset=True)

    assert one_line(ran, 2) == "error: 127.0.0.1 serves chain 1, CHAIN_ID is 43114: set one of them right"


@pytest.mark.parametrize("answer", [web.Response(status=503), web.Response(text="<html>"), web.Response(text="[]")])
def test_a_node_that_stops_answering_is_one_line(stored: Settings, command: Command, answer: web.Response) -> None:
    async def no_blocks(calls: list[Any]) -> web.Response | None:
        again = web.Response(status=answer.status, text=answer.text)
        return again if calls[0]["method"] == "eth_getBlockByNumber" else None

    with FakeNode(chain_id=43114, override=no_blocks) as falling:
        ran = command(replace(stored, rpc_urls=(falling.url,)), "verify")

    line = one_line(ran, 1)
    assert line.startswith("error: the node stopped answering")
    assert "secret" not in line


def test_an_empty_database_is_one_line(migrated: Settings, command: Command) -> None:
    ran = command(migrated, "verify", "--offline")

    assert one_line(ran, 2) == "error: no block of chain 43114 is stored: `indexer batch queue` asks for some"


def test_a_range_that_is_none_is_one_line(stored: Settings, command: Command) -> None:
    ran = command(stored, "verify", "--from", 9, "--to", 3)

    assert one_line(ran, 2) == "error: the range 9–3 is empty"


def test_a_database_out_of_reach_is_one_line(stored: Settings, command: Command) -> None:
    ran = command(replace(stored, database_url="postgresql://postgres:secret@127.0.0.1:1/x"), "verify")

    assert one_line(ran, 1) == "error: the database at 127.0.0.1:1 does not answer"
