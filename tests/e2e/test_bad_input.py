"""What a user can get wrong in a command: one clear line and an exit code, no traceback, and nothing half-done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.client import Devchain
from indexer.settings import Settings
from indexer.storage.jobs import Connection
from tests.support.command_line import ran_apart
from tests.support.e2e_bad_input import (
    DATABASES,
    FAILED,
    NOWHERE,
    USER,
    assert_nothing_done,
    assert_one_line,
    wrong_databases,
)
from tests.support.rows import insert_blocks

pytestmark = pytest.mark.e2e

HEAD = 100


@pytest.fixture(scope="module")
def node() -> Iterator[Devchain]:
    with Devchain.simulated(profile="small", blocks=HEAD) as node:
        yield node


@pytest.fixture
def right(migrated: Settings, node: Devchain) -> Settings:
    """Settings with which everything works, but for Kafka."""
    node.faults(reset=True)
    return replace(migrated, rpc_urls=(node.url,))


# what is asked for

MANIFESTS = {
    "12\nabc\n": "line 2",
    "10-5\n": "line 1",
    "-3\n": "line 1",
    "# nothing\n": "names no block",
    "5\n1.5\n": "line 2",
    "\xff\xfe": "not a text file",
}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["10", "5"], ["10–5", "empty"]),
        (["--", "-5", "5"], ["-5–5"]),
        (["1", str(2**63)], [str(2**63)]),
        (["1", str(2**40), "--follow"], [str(2**40), "no chain"]),
        (["1", str(HEAD + 1)], [f"block {HEAD + 1}", f"the head, {HEAD}", "--follow"]),
        (["1", "5", "--priority", "urgent"], ["--priority urgent", "high, normal, low", "earliest"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_wrong_range_is_refused(
    right: Settings, database: Connection, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    assert_one_line(ran_apart(right, tmp_path, "batch", "queue", "blocks", *arguments), USER, *words)
    assert_nothing_done(database)


@pytest.mark.parametrize(("first", "option"), [("x", []), ("1", ["--window", "0"]), ("1", ["--rate", "-1"])])
def test_what_is_no_number_is_refused_with_the_way_to_ask(
    right: Settings, database: Connection, tmp_path: Path, first: str, option: list[str]
) -> None:
    ran = ran_apart(right, tmp_path, "batch", "queue", "blocks", first, "10", *option)

    assert ran.code == USER
    assert ran.err.splitlines()[0].startswith("Usage:")
    assert ran.err.splitlines()[-1].startswith("Error: Invalid value")
    assert_nothing_done(database)


@pytest.mark.parametrize(("text", "words"), MANIFESTS.items(), ids=map(repr, MANIFESTS))
def test_a_malformed_manifest_is_refused(
    right: Settings, database: Connection, tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "manifest.txt"
    file.write_bytes(text.encode("latin-1"))

    assert_one_line(ran_apart(right, tmp_path, "batch", "queue", "manifest", file), USER, words)
    assert_nothing_done(database)


def test_a_manifest_beyond_the_head_or_missing_is_refused(
    right: Settings, database: Connection, tmp_path: Path
) -> None:
    (tmp_path / "manifest.txt").write_text(f"5, 7-9\n{HEAD + 5}\n")

    assert_one_line(ran_apart(right, tmp_path, "batch", "queue", "manifest", "manifest.txt"), USER, "--follow")
    missing = ran_apart(right, tmp_path, "batch", "queue", "manifest", "no-such-file")
    assert (missing.code, missing.err.splitlines()[-1]) == (
        USER,
        "Error: Invalid value for 'FILE': 'no-such-file': No such file or directory",
    )
    assert_nothing_done(database)


@pytest.mark.parametrize("command", ["status", "pause", "resume", "cancel", "set"])
def test_an_unknown_job_is_named(right: Settings, tmp_path: Path, command: str) -> None:
    options = ["--rate", "5"] if command == "set" else []

    ran = ran_apart(right, tmp_path, "batch", command, 99, *options)

    assert_one_line(ran, USER, "no job 99", "indexer batch status")


@pytest.mark.parametrize(
    ("state", "command", "done"),
    [
        ("done", "pause", "paused"),
        ("done", "resume", "resumed"),
        ("cancelled", "resume", "resumed"),
        ("done", "cancel", "cancelled"),
        ("done", "set", "changed"),
    ],
)
def test_a_job_in_the_wrong_state_stays_as_it_is(
    right: Settings, database: Connection, tmp_path: Path, state: str, command: str, done: str
) -> None:
    job = ran_apart(right, tmp_path, "batch", "queue", "blocks", 1, 10, "--json").json()["job"]
    database.execute("UPDATE processing_jobs SET state = %s WHERE id = %s", (state, job))
    before = database.execute("SELECT * FROM processing_jobs").fetchall()
    options = ["--window", "5"] if command == "set" else []

    ran = ran_apart(right, tmp_path, "batch", command, job, *options)

    assert_one_line(ran, USER, f"job {job} is {state}", f"cannot be {done}")
    assert database.execute("SELECT * FROM processing_jobs").fetchall() == before


# what is around it


@pytest.mark.parametrize("command", [("batch", "queue", "blocks", 1, 10), ("verify",)], ids=lambda value: value[0])
def test_a_node_that_cannot_be_used_is_named(
    right: Settings, database: Connection, node: Devchain, tmp_path: Path, command: tuple[object, ...]
) -> None:
    if command == ("verify",):
        insert_blocks(database, range(1, 3))
    unreachable = replace(right, rpc_urls=(f"http://{NOWHERE}/key-of-the-user",))
    ran = ran_apart(unreachable, tmp_path, *command)
    assert ran.code in (USER, FAILED)
    assert "127.0.0.1" in ran.err
    assert "key-of-the-user" not in ran.err + ran.out
    assert "Traceback" not in ran.err

    node.faults(chain_id=1)
    ran = ran_apart(right, tmp_path, *command)
    assert ran.code in (USER, FAILED)
    assert "serves chain 1" in ran.err or "chain 1" in ran.err
    assert ran.err.count("\n") == 1
    if command != ("verify",):
        assert_nothing_done(database)


@pytest.mark.parametrize("wrong", DATABASES)
@pytest.mark.parametrize(
    "command", [("batch", "queue", "blocks", 1, 10), ("batch", "status"), ("batch", "process")], ids=lambda c: c[1]
)
def test_a_wrong_database_is_named(
    right: Settings, database_url: str, tmp_path: Path, wrong: str, command: tuple[object, ...]
) -> None:
    settings, code, words = wrong_databases(replace(right, kafka_bootstrap_servers=NOWHERE), database_url)[wrong]

    ran = ran_apart(settings, tmp_path, *command)

    assert_one_line(ran, code, *words)
    assert "not-this" not in ran.err
