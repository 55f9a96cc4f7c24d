"""`indexer follow`: queues the job, shows how far it is, and answers mistakes with one line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.settings import Settings
from indexer.storage import following, jobs
from indexer.storage.jobs import Connection
from tests.support.command_line import Command
from tests.support.following import CHAIN_ID

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(migrated: Settings, chain_cache: Path) -> Iterator[Settings]:
    options = {"profile": "small", "blocks": 300, "chain_id": CHAIN_ID, "ethereum": True, "cache": chain_cache}
    with Devchain.simulated(head=60, **options) as node:
        yield replace(migrated, chain_id=CHAIN_ID, rpc_urls=(node.url,))


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
