"""`indexer dlq list` and the reading of dead letters behind it, on a real database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from indexer.codec import encode_work_item
from indexer.error_codes import hint
from indexer.records import BlockWorkItem
from indexer.replay.selection import Selection
from indexer.settings import Settings
from indexer.storage import dead_letters
from indexer.storage.jobs import Connection
from tests.support.command_line import Command
from tests.support.deployment import CHAIN_ID
from tests.support.letters import put_letter, put_letters, states

pytestmark = pytest.mark.integration

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROOT, GAP = "RECEIPTS_ROOT_MISMATCH", "LOG_INDEX_GAP"


def put(connection: Connection, block: int | None, **fields: Any) -> int:
    """Insert a letter of a block; its offset on the topic is the block's number."""
    code = fields.get("code", ROOT)
    row = {
        "chain_id": CHAIN_ID,
        "origin_topic": "blocks.work.normal",
        "origin_topic_id": "topic-id",
        "origin_partition": 3,
        "origin_offset": block or 0,
        "replay_count": 0,
        "block_number": block,
        "job_id": 1,
        "state": "open",
        "service": "decoder",
        "stage": "verify",
        "code": code,
        "error_class": "VerificationError",
        "message": f"block {block}: {code.lower()}",
        "fingerprint": f"print of {code}",
        "attempts": 1,
        "record_headers": "[]",
        "indexed_at": NOON + timedelta(seconds=block or 0),
        **fields,
    }
    found = connection.execute(
        """
        INSERT INTO dead_letters (chain_id, origin_topic, origin_topic_id, origin_partition, origin_offset,
            replay_count, block_number, job_id, state, service, stage, code, error_class, message, fingerprint,
            attempts, record_headers, indexed_at)
        VALUES (%(chain_id)s, %(origin_topic)s, %(origin_topic_id)s, %(origin_partition)s, %(origin_offset)s,
            %(replay_count)s, %(block_number)s, %(job_id)s, %(state)s, %(service)s, %(stage)s, %(code)s,
            %(error_class)s, %(message)s, %(fingerprint)s, %(attempts)s, %(record_headers)s, %(indexed_at)s)
        RETURNING id
        """,
        row,
    ).fetchone()
    assert found is not None
    return int(found[0])


def test_letters_with_the_same_fingerprint_are_one_group_the_largest_first(database: Connection) -> None:
    put(database, 5, code=GAP)
    for block in (20, 10, 30):
        put(database, block)
    last = put(database, 15)

    roots, gaps = dead_letters.groups(database, CHAIN_ID, Selection(), 10)

    assert (roots["code"], roots["count"], roots["first_block"], roots["last_block"]) == (ROOT, 4, 10, 30)
    assert (roots["service"], roots["stage"], roots["fingerprint"]) == ("decoder", "verify", f"print of {ROOT}")
    assert (roots["first_seen"], roots["last_seen"]) == (NOON + timedelta(seconds=10), NOON + timedelta(seconds=30))
    assert (roots["example"], roots["example_id"]) == ("block 15: receipts_root_mismatch", last)
    assert (gaps["code"], gaps["count"], gaps["first_block"], gaps["last_block"]) == (GAP, 1, 5, 5)


def test_letters_come_one_by_one_oldest_first(database: Connection) -> None:
    ids = [put(database, block) for block in (20, 10, 30)]

    found = dead_letters.letters(database, CHAIN_ID, Selection(), 2)

    assert [each["id"] for each in found] == ids[:2]
    assert found[0]["block_number"] == 20
    assert (found[0]["origin_topic"], found[0]["origin_partition"], found[0]["origin_offset"]) == (
        *("blocks.work.normal", 3),
        20,
    )


@pytest.mark.parametrize("find", [dead_letters.groups, dead_letters.letters])
def test_only_open_letters_of_the_chain_and_the_job_are_found(database: Connection, find: Any) -> None:
    put(database, 1)
    put(database, 2, job_id=2)
    put(database, 3, job_id=None)
    for offset, state in enumerate(("resolved", "replayed", "quarantined", "dropped")):
        put(database, 100 + offset, state=state, fingerprint=state)
    put(database, 200, chain_id=1, fingerprint="another chain's")

    everything, of_the_job = find(database, CHAIN_ID, Selection(), 10), find(database, CHAIN_ID, Selection(job=2), 10)

    assert sum(each.get("count", 1) for each in everything) == 3
    assert [each.get("block_number", each.get("first_block")) for each in of_the_job] == [2]
    assert find(database, 999, Selection(), 10) == []


def test_the_command_shows_a_line_for_each_kind_of_failure(
    migrated: Settings, database: Connection, command: Command
) -> None:
    put(database, 5, code=GAP)
    put(database, 10)
    put(database, 30)

    ran = command(migrated, "dlq", "list")

    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert first == (
        "print of REC  2 × RECEIPTS_ROOT_MISMATCH  blocks 10–30  last "
        f"{(NOON + timedelta(seconds=30)).astimezone():%Y-%m-%d %H:%M:%S}  block 30: receipts_root_mismatch"
    )
    assert "1 × LOG_INDEX_GAP  blocks 5–5" in second


def test_the_command_shows_each_letter_on_request(migrated: Settings, database: Connection, command: Command) -> None:
    letter = put(database, 10)
    put(database, 11, job_id=2)

    ran = command(migrated, "dlq", "list", "--each", "--job", 1)

    assert ran.out == (
        f"{letter}  block 10  RECEIPTS_ROOT_MISMATCH  decoder/verify  blocks.work.normal[3]@10"
        "  block 10: receipts_root_mismatch\n"
    )


def test_the_command_speaks_json(migrated: Settings, database: Connection, command: Command) -> None:
    put(database, 10)
    put(database, 11)

    groups, letters = (command(migrated, "dlq", "list", "--json", *more).json() for more in ((), ("--each",)))

    assert [(each["code"], each["count"]) for each in groups] == [(ROOT, 2)]
    assert [(each["block_number"], each["attempts"]) for each in letters] == [(10, 1), (11, 1)]


def test_what_a_limit_leaves_out_is_counted(migrated: Settings, database: Connection, command: Command) -> None:
    for block in range(3):
        put(database, block)
    put(database, 3, code=GAP)

    letters, kinds = (command(migrated, "dlq", "list", "--limit", 1, *more) for more in (("--each",), ()))
    each, groups = (command(migrated, "dlq", "list", "--limit", 1, "--json", *more) for more in (("--each",), ()))

    assert [len(ran.out.splitlines()) for ran in (letters, kinds)] == [1, 1]
    assert (letters.err, kinds.err) == (
        "not shown: 3 of 4 letters; --limit 4 shows all\n",
        "not shown: 1 of 2 kinds of failure; --limit 2 shows all\n",
    )
    assert (each.err, groups.err) == (letters.err, kinds.err)
    assert ([row["total"] for row in each.json()], [row["total"] for row in groups.json()]) == ([4], [2])
    assert command(migrated, "dlq", "list", "--each", "--limit", 4).err == ""


def test_a_letter_of_no_block_is_shown_too(migrated: Settings, database: Connection, command: Command) -> None:
    put(database, None, code="MALFORMED_RECORD", service="persister", stage="deserialize", job_id=None)

    groups, letters = (command(migrated, "dlq", "list", *more) for more in ((), ("--each",)))

    assert "1 × MALFORMED_RECORD  no block known  last" in groups.out
    assert "no block known  MALFORMED_RECORD  persister/deserialize" in letters.out


def test_no_letters_are_said_to_be_none(migrated: Settings, command: Command) -> None:
    ran = command(migrated, "dlq", "list")

    assert (ran.code, ran.out) == (0, "no dead letters\n")
    assert command(migrated, "dlq", "list", "--json").json() == []


def test_a_database_without_tables_is_one_line(database_url: str, command: Command) -> None:
    ran = command(Settings(database_url=database_url), "dlq", "list")

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: the database has no tables of the indexer: run `indexer db migrate`\n"


def test_a_letter_is_shown_with_its_headers_its_body_and_what_to_do(
    migrated: Settings, database: Connection, command: Command
) -> None:
    letter = put_letter(database, migrated, 7, code="RPC_TIMEOUT")

    shown = command(migrated, "dlq", "show", letter, "--json").json()
    text = command(migrated, "dlq", "show", letter).out

    assert shown["body"]["record"] == "BlockWorkItem"
    assert (shown["body"]["number"], shown["body"]["reason"], shown["key"]) == (7, "backfill", "43114:7")
    assert ["x-dlq-error-code", "RPC_TIMEOUT"] in shown["headers"]
    assert shown["hint"] == hint("RPC_TIMEOUT")
    assert f"hint: {hint('RPC_TIMEOUT')}" in text
    assert "  x-dlq-error-code: RPC_TIMEOUT" in text


def test_a_body_that_cannot_be_read_is_shown_as_far_as_it_goes(
    migrated: Settings, database: Connection, command: Command
) -> None:
    letter = put_letter(database, migrated, 7, value=b"\x00\x00garbage")

    body = command(migrated, "dlq", "show", letter, "--json").json()["body"]

    assert body["begins"] == "0x0000" + b"garbage".hex()
    assert "unreadable" in body


def test_a_letter_that_is_not_there_is_one_line(migrated: Settings, command: Command) -> None:
    ran = command(migrated, "dlq", "show", 5)

    assert (ran.code, ran.err) == (2, "error: no dead letter 5: `indexer dlq list --each` shows the ids\n")


def test_letters_are_selected_by_each_condition(migrated: Settings, database: Connection, command: Command) -> None:
    root = put_letter(database, migrated, 1)
    gap = put_letter(database, migrated, 50, code=GAP, job_id=2, service="persister")

    def found(*options: object) -> list[int]:
        return [each["id"] for each in command(migrated, "dlq", "list", "--each", "--json", *options).json()]

    print_of_root = command(migrated, "dlq", "show", root, "--json").json()["fingerprint"]
    assert found() == [root, gap]
    assert found("--id", gap) == [gap]
    assert found("--fingerprint", print_of_root[:8]) == [root]
    assert found("--code", GAP) == [gap]
    assert found("--service", "decoder") == [root]
    assert found("--job", 2) == [gap]
    assert found("--blocks", "2-60") == [gap]
    assert found("--since", "1h") == [root, gap]
    assert found("--until", "1h") == []
    assert found("--since", "0001-01-01T00:00+14:00", "--until", "9999-12-31T23:59-14:00") == [root, gap]


def test_groups_name_their_ranges_of_blocks(migrated: Settings, database: Connection, command: Command) -> None:
    put_letters(database, migrated, [1, 2, 60, 1000, 1001, 5000])

    (group,) = command(migrated, "dlq", "list", "--json").json()

    assert group["ranges"] == [[1, 60], [1000, 1001], [5000, 5000]]
    assert "blocks 1–60, 1000–1001, 5000–5000" in command(migrated, "dlq", "list").out


def test_letters_are_set_aside_and_given_up_with_a_note_of_who_did_it(
    migrated: Settings, database: Connection, command: Command
) -> None:
    put_letters(database, migrated, [1, 2, 3])

    dry = command(migrated, "dlq", "quarantine", "--blocks", "1-2", "--dry-run")
    unconfirmed = command(migrated, "dlq", "quarantine", "--blocks", "1-2")
    aside = command(migrated, "dlq", "quarantine", "--blocks", "1-2", "--yes", "--note", "wrong ABI")
    dropped = command(migrated, "dlq", "drop", "--state", "quarantined", "--blocks", 1, "--yes", "--json")

    assert dry.out == "would quarantine 2 dead letters\n"
    assert (unconfirmed.code, "--yes" in unconfirmed.err) == (2, True)
    assert aside.out == "2 dead letters quarantined\n"
    assert dropped.json() == {"letters": 1, "state": "dropped", "dry_run": False}
    assert states(database) == {"open": 1, "quarantined": 1, "dropped": 1}
    actions = database.execute("SELECT action, letters, note FROM letter_actions ORDER BY id").fetchall()
    assert actions == [("quarantine", 2, "wrong ABI"), ("drop", 1, None)]


def test_nothing_is_changed_without_a_selection(migrated: Settings, database: Connection, command: Command) -> None:
    put_letters(database, migrated, [1])

    ran = command(migrated, "dlq", "drop", "--yes")

    assert (ran.code, states(database)) == (2, {"open": 1})
    assert "which letters?" in ran.err


def test_an_export_loses_nothing_of_the_records(
    migrated: Settings, database: Connection, command: Command, tmp_path: Path
) -> None:
    put_letters(database, migrated, range(3))
    value = encode_work_item(BlockWorkItem(CHAIN_ID, 2, job_id=1))

    command(migrated, "dlq", "export", "--output", tmp_path / "letters.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "letters.jsonl").read_text().splitlines()]

    assert [line["block_number"] for line in lines] == [0, 1, 2]
    assert command(migrated, "dlq", "export").out.count("\n") == 3
    assert bytes.fromhex(lines[2]["record_value"]) == value
    assert ["trace", b"abc".hex()] in lines[2]["record_headers"]


def test_an_export_of_no_letters_is_an_empty_file(migrated: Settings, command: Command, tmp_path: Path) -> None:
    before = tmp_path / "before.jsonl"
    before.write_text("of another day")

    for path in (before, tmp_path / "new.jsonl"):
        assert command(migrated, "dlq", "export", "--output", path).code == 0
        assert path.read_text() == ""


@pytest.mark.parametrize("letters", [0, 3])
def test_an_export_that_cannot_be_written_is_refused(
    migrated: Settings, database: Connection, command: Command, tmp_path: Path, letters: int
) -> None:
    put_letters(database, migrated, range(letters))
    path = tmp_path / "none" / "letters.jsonl"

    ran = command(migrated, "dlq", "export", "--output", path)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: --output {path}: No such file or directory\n"
