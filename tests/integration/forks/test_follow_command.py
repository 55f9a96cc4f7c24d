"""`indexer follow`: queues the job, shows how far it is, and answers mistakes with one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from devchain.client import Devchain
from indexer.cli import node
from indexer.settings import Settings
from indexer.storage import following, jobs
from indexer.storage.jobs import Connection
from tests.support.command_line import Command, variables
from tests.support.following import CHAIN_ID
from tests.support.rows import insert_blocks

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(migrated: Settings, chain_cache: Path) -> Iterator[Settings]:
    options = {"profile": "small", "blocks": 300, "chain_id": CHAIN_ID, "ethereum": True, "cache": chain_cache}
    with Devchain.simulated(head=60, **options) as chain:
        yield replace(migrated, chain_id=CHAIN_ID, rpc_urls=(chain.url,))


def test_without_from_the_head_is_where_following_begins(command: Command, settings: Settings) -> None:
    now = command(settings, "follow", "--no-wait", "--json").json()

    assert (now["tip"], now["confirmations"], now["paused"], now["followed_by"]) == (59, None, None, None)


def test_a_second_command_shows_the_same_job(command: Command, settings: Settings) -> None:
    first = command(settings, "follow", "--from", 5, "--confirmations", 3, "--no-wait", "--json").json()

    said = command(settings, "follow", "--no-wait")

    assert said.code == 0
    assert f"job {first['job']}: queued, seen to 4" in said.out
    assert "start the services" in said.out
    assert first["confirmations"] == 3


@pytest.mark.parametrize("more", [(), ("--go-on", "--rollback-to", 3, "--yes")])
@pytest.mark.parametrize("wish", [("--confirmations", 4), ("--finalized",), ("--from", 6)])
def test_what_only_a_new_job_can_be_given_is_refused(
    command: Command, settings: Settings, database: Connection, wish: tuple[object, ...], more: tuple[object, ...]
) -> None:
    job = command(settings, "follow", "--from", 5, "--confirmations", 3, "--no-wait", "--json").json()["job"]
    database.execute("UPDATE chain_state SET paused = 'a fork'")

    said = command(settings, "follow", *wish, *more, "--no-wait")

    assert said.code == 2
    assert f"is followed by job {job}: without {wish[0]}, or `indexer batch cancel {job}` first" in said.err
    assert command(settings, "follow", "--confirmations", 3, "--no-wait").code == 0


def test_batch_status_shows_the_job_before_and_after_a_block(command: Command, settings: Settings) -> None:
    job = command(settings, "follow", "--no-wait", "--json").json()["job"]

    assert f"job {job}" in command(settings, "batch", "status").out
    assert command(settings, "batch", "pause", job).code == 0
    assert "paused" in command(settings, "follow", "--no-wait").out


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--finalized", "--confirmations", 3), "exclude"),
        (("--rollback-to", 3), "--go-on"),
        (("--go-on",), "not paused"),
        (("--go-on", "--rollback-to", 3, "--yes"), "not paused"),
        (("--go-on", "--dry-run"), "--rollback-to"),
    ],
)
def test_mistakes_end_in_one_line(
    command: Command, settings: Settings, options: tuple[str | int, ...], what: str
) -> None:
    said = command(settings, "follow", *options)

    assert said.code == 2
    assert what in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_following_goes_on_where_it_ended(command: Command, settings: Settings, database: Connection) -> None:
    job = following.start(database, CHAIN_ID, 40, None)
    assert command(settings, "follow", "--from", 3, "--no-wait").code == 2
    jobs.wish(database, CHAIN_ID, job, "cancel")
    database.execute("UPDATE processing_jobs SET state = 'cancelled'")

    refused = command(settings, "follow", "--from", 3, "--no-wait")
    assert refused.code == 2
    assert "up to block 39" in refused.err
    assert command(settings, "follow", "--no-wait", "--json").json()["tip"] == 39


def test_once_says_why_a_chain_stands_still(command: Command, settings: Settings, database: Connection) -> None:
    following.start(database, CHAIN_ID, 40, None)
    database.execute("INSERT INTO chain_state (chain_id, paused) VALUES (%s, 'a fork too deep')", (CHAIN_ID,))

    said = command(settings, "follow", "--once")

    assert said.code == 2
    assert "a fork too deep" in said.err
    assert command(settings, "follow", "--go-on", "--no-wait").code == 0


def test_once_ends_with_the_head_of_its_beginning_while_the_chain_goes_on(
    command: Command, settings: Settings, database: Connection
) -> None:
    head = node.head(settings)
    following.start(database, CHAIN_ID, head, None)
    insert_blocks(database, (head, head + 1), CHAIN_ID)
    hash_ = node.hash_at(settings.rpc_urls[0], head)
    database.execute("UPDATE blocks SET hash = %s WHERE number = %s", (hash_, head))
    database.execute("UPDATE processing_jobs SET position = %s", (Jsonb({"next": head + 9}),))
    database.execute("INSERT INTO chain_state (chain_id, canonical_to) VALUES (%s, %s)", (CHAIN_ID, head + 1))

    assert command(settings, "follow", "--once", "--json").code == 0


@pytest.fixture
def forked(settings: Settings, database: Connection) -> Settings:
    """A chain that is paused, and whose stored blocks are the node's up to 40 only."""
    following.start(database, CHAIN_ID, 30, None)
    insert_blocks(database, range(30, 51), CHAIN_ID)
    for number in range(30, 41):
        hash_ = node.hash_at(settings.rpc_urls[0], number)
        database.execute("UPDATE blocks SET hash = %s WHERE number = %s", (hash_, number))
    database.execute("INSERT INTO chain_state (chain_id, paused) VALUES (%s, 'a fork too deep')", (CHAIN_ID,))
    return settings


def decided(database: Connection) -> tuple[bool, int | None]:
    """Whether the chain is paused, and what is to be taken back."""
    row = database.execute("SELECT position -> 'rollback_to' FROM processing_jobs").fetchone()
    assert row is not None
    return following.paused(database, CHAIN_ID), row[0]


@pytest.mark.parametrize("number", [41, 45, 50, 70])
def test_a_rollback_that_would_keep_other_blocks_is_refused(
    command: Command, forked: Settings, database: Connection, number: int
) -> None:
    said = command(forked, "follow", "--go-on", "--rollback-to", number, "--yes")

    assert said.code == 2
    assert "both agree up to block 40" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert decided(database) == (True, None)


def test_a_header_speaks_as_well_as_a_row(command: Command, forked: Settings, database: Connection) -> None:
    database.execute("INSERT INTO headers VALUES (%s, 40, 'other', '', 0)", (CHAIN_ID,))

    assert "up to block 39" in command(forked, "follow", "--go-on", "--rollback-to", 40, "--yes").err


def test_a_rollback_is_confirmed_or_looked_at_first(command: Command, forked: Settings, database: Connection) -> None:
    unconfirmed = command(forked, "follow", "--go-on", "--rollback-to", 40)
    looked = command(forked, "follow", "--go-on", "--rollback-to", 40, "--dry-run", "--json")
    said = command(forked, "follow", "--go-on", "--rollback-to", 40, "--dry-run")

    assert (unconfirmed.code, "NOT_CONFIRMED" in unconfirmed.err or "--yes" in unconfirmed.err) == (2, True)
    assert looked.json() == {"rollback_to": 40, "blocks": 10, "dry_run": True}
    assert said.out == "would take back 10 blocks, 41–50\n"
    assert decided(database) == (True, None)

    assert command(forked, "follow", "--go-on", "--rollback-to", 40, "--yes", "--no-wait").code == 0
    assert decided(database) == (False, 40)


def test_a_rollback_below_all_that_is_stored_needs_nobody_to_agree(
    command: Command, forked: Settings, database: Connection
) -> None:
    assert command(forked, "follow", "--go-on", "--rollback-to", 29, "--yes", "--no-wait").code == 0
    assert decided(database) == (False, 29)


def test_once_ends_when_the_nodes_head_is_what_is_stored(
    settings: Settings, database: Connection, tmp_path: Path
) -> None:
    following.start(database, CHAIN_ID, 60, None)
    insert_blocks(database, (60, 61), CHAIN_ID)  # of a branch that is dead by now
    database.execute("UPDATE processing_jobs SET position = '{\"next\": 62}'")
    database.execute("INSERT INTO chain_state (chain_id, canonical_to) VALUES (%s, 61)", (CHAIN_ID,))
    environment = {**os.environ, **variables(settings)}

    waits = subprocess.Popen(
        [sys.executable, "-m", "indexer.cli", "follow", "--once", "--json"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with waits:
        assert waits.stderr is not None
        said = waits.stderr.readline()
        hash_ = node.hash_at(settings.rpc_urls[0], 60)
        database.execute("UPDATE blocks SET hash = %s WHERE number = 60", (hash_,))
        code = waits.wait(20)

    assert "block 60 is not the node's" in said
    assert "nobody: start the services" in said
    assert code == 0
