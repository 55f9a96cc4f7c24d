"""What is deleted or altered in the database, or missing in a restored one, is found, and comes back the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from devchain.client import Devchain
from indexer.kafka import config
from indexer.settings import Settings
from indexer.storage import engine
from indexer.storage.digest import digest, wrong_balances
from indexer.storage.jobs import Connection
from indexer.topics import load_topics
from tests.support.command_line import Command
from tests.support.deployment import own_database
from tests.support.e2e_services import Services, services
from tests.support.stack import unique
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BLOCKS = 300
HARM = (
    ("blocks", "DELETE FROM blocks"),
    ("blocks", "UPDATE blocks SET hash = sha256(hash)"),
    ("blocks", "UPDATE blocks SET state_root = sha256(state_root)"),
    ("blocks", "UPDATE blocks SET size = size + 1"),
    ("blocks", "UPDATE blocks SET log_count = log_count + 1"),
    ("transactions", "DELETE FROM transactions"),
    ("transactions", "UPDATE transactions SET value = value + 1"),
    ("transactions", "UPDATE transactions SET receipt_gas_used = receipt_gas_used + 1"),
    ("logs", "DELETE FROM logs"),
    ("logs", "UPDATE logs SET data = data || '\\x00'"),
    ("logs", "UPDATE logs SET topic0 = sha256(topic0)"),
    ("token_transfers", "DELETE FROM token_transfers"),
    ("token_transfers", "UPDATE token_transfers SET amount = amount + 5"),
    ("token_transfers", "UPDATE token_transfers SET to_address = from_address"),
)


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="mixed", blocks=BLOCKS) as node:
        yield node


def test_random_harm_is_found_and_repaired(
    deployment: Settings, node: Devchain, tmp_path: Path, command: Command
) -> None:
    with services(deployment, node, tmp_path) as running:
        indexed(running)
        before = digest(running.database, deployment.chain_id)
        harmed = harm(running.database, random.Random(20))

        report = command(running.settings, "audit", "--json", "--sample", BLOCKS)
        (tmp_path / "report.json").write_text(report.out)
        found = {n for each in report.json()["findings"] for low, high in each["ranges"] for n in range(low, high + 1)}
        ran = command(running.settings, "repair", tmp_path / "report.json", "--wait", "--yes", "--json")

        assert harmed <= found
        assert ran.code == 0, ran.out + ran.err
        assert wrong_balances(running.database, deployment.chain_id) == []
        assert digest(running.database, deployment.chain_id) == before
        again = command(running.settings, "audit", "--json", "--sample", BLOCKS)
        assert again.code == 0, again.out


def test_a_database_restored_from_a_backup_is_filled_up_from_kafka(
    deployment: Settings, postgres: str, node: Devchain, tmp_path: Path, command: Command
) -> None:
    with (
        backed_up(deployment, postgres, node, tmp_path) as (restored, ought),
        services(restored, node, tmp_path / "restored") as running,
    ):
        lost = command(running.settings, "audit", "--json", "--sample", 0, "--from", 1, "--to", BLOCKS)
        assert [each["kind"] for each in lost.json()["findings"]] == ["not asked for"]
        running.start(persister=1)
        running.until(lambda: stored(running.database) == BLOCKS, 60, "what Kafka holds is stored")

        assert wrong_balances(running.database, deployment.chain_id) == []
        assert digest(running.database, deployment.chain_id).total == ought
        assert command(running.settings, "audit", "--json", "--sample", 0).code == 0


def test_a_database_restored_while_the_services_run_is_filled_up_though_nothing_comes(
    deployment: Settings, postgres: str, node: Devchain, tmp_path: Path
) -> None:
    with (
        backed_up(deployment, postgres, node, tmp_path) as (backup, ought),
        services(deployment, node, tmp_path / "running") as running,
    ):
        running.start(persister=2)
        everything = load_topics(deployment.topic_prefix)["blocks.decoded"].partitions
        owned = "SELECT count(*) FROM consumer_progress WHERE backend_pid IS NOT NULL AND topic LIKE '%blocks.decoded'"
        running.until(lambda: running.database.execute(owned).fetchone() == (everything,), 60, "all have an owner")

        exchange(postgres, deployment, backup)

        with engine.connect(deployment, "test", autocommit=True) as database:
            assert stored(database) < BLOCKS
            running.until(lambda: stored(database) == BLOCKS, 60, "what Kafka holds is stored")
            assert digest(database, deployment.chain_id).total == ought
        assert running.restarts("persister") == 0


def test_what_kafka_no_longer_has_is_noticed_and_queued_again(
    deployment: Settings, postgres: str, node: Devchain, tmp_path: Path, command: Command
) -> None:
    with backed_up(deployment, postgres, node, tmp_path) as (restored, ought):
        delete_records(deployment)
        with services(restored, node, tmp_path / "restored") as running:
            lost = command(running.settings, "audit", "--json", "--sample", 0, "--from", 1, "--to", BLOCKS)
            (tmp_path / "report.json").write_text(lost.out)
            kinds = {each["kind"] for each in lost.json()["findings"]}
            running.start(producer=1, decoder=1, persister=1)
            ran = command(running.settings, "repair", tmp_path / "report.json", "--wait", "--yes", "--json")

            assert kinds == {"not asked for", "position in Kafka"}
            assert ran.code == 0, ran.out + ran.err
            assert digest(running.database, deployment.chain_id).total == ought
            assert command(running.settings, "audit", "--json", "--sample", 0).code == 0


def indexed(running: Services, first: int = 1, past: int = BLOCKS + 1) -> None:
    running.start(producer=1, decoder=1, persister=1)
    job = running.queue([(first, past)])
    running.until(lambda: running.is_done(job), 90, "the blocks are stored")


def stored(database: Connection) -> int:
    row = database.execute("SELECT count(*) FROM blocks").fetchone()
    assert row is not None
    return int(row[0])


def harm(database: Connection, rng: random.Random) -> set[int]:
    """Delete and alter rows at random, and two balances; return the heights."""
    heights = rng.sample(range(1, BLOCKS + 1), 4 * len(HARM))
    harmed = set()
    for at, number in enumerate(heights):
        table, statement = HARM[at % len(HARM)]
        column = "number" if table == "blocks" else "block_number"
        wanted = "transaction_index" if table == "transactions" else "log_index"
        where = f"WHERE {column} = {number}"
        if table != "blocks":
            where += f" AND {wanted} = (SELECT min({wanted}) FROM {table} WHERE block_number = {number})"
        if "to_address = from" in statement:
            where += " AND to_address <> from_address"
        if database.execute(f"{statement} {where}".encode()).rowcount:
            harmed.add(number)
    assert len(harmed) > len(heights) // 2
    database.execute(
        "UPDATE balances SET balance = balance + 3 WHERE (token_address, token_id, holder) IN"
        " (SELECT token_address, token_id, holder FROM balances LIMIT 2)"
    )
    return harmed


@contextmanager
def backed_up(settings: Settings, postgres: str, node: Devchain, folder: Path) -> Iterator[tuple[Settings, str]]:
    """Yield settings with the database as it was half-way, and the digest of the whole."""
    name = urlsplit(settings.database_url).path.lstrip("/")
    with services(settings, node, folder / "first") as running:
        indexed(running, 1, BLOCKS // 2)
    with own_database(postgres, name) as copy:
        with services(settings, node, folder / "second") as running:
            indexed(running, BLOCKS // 2, BLOCKS + 1)
            ought = digest(running.database, settings.chain_id).total
        yield replace(settings, database_url=copy.database_url), ought


def exchange(postgres: str, settings: Settings, backup: Settings) -> None:
    """Put the backup in the place of the database, which others are connected to."""
    names = [urlsplit(each.database_url).path.lstrip("/") for each in (settings, backup)]
    present, copy, aside = (sql.Identifier(name) for name in (*names, unique("aside")))
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")

    def exchanged() -> bool:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (names[0],))
        try:
            with server.transaction():
                for name, other in ((present, aside), (copy, present), (aside, copy)):
                    server.execute(rename.format(name, other))
        except psycopg.errors.ObjectInUse:  # somebody was quick to connect again
            return False
        return True

    with psycopg.connect(postgres, autocommit=True) as server:
        wait_for(exchanged)


def delete_records(settings: Settings) -> None:
    """Have Kafka forget all that is on the topic of decoded blocks, as retention does."""
    topic = load_topics(settings.topic_prefix)["blocks.decoded"]
    ends = [TopicPartition(topic.name, p, -1) for p in range(topic.partitions)]
    admin = AdminClient(config.common(settings))  # kept: its calls end with it
    for future in admin.delete_records(ends).values():
        future.result(10)
