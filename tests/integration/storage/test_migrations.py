"""The migrations make what tables.py declares, once, however many do it at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from indexer.errors import OutageError, UserError
from indexer.settings import Settings
from indexer.storage import engine
from indexer.storage.migrate import check, migrate, newest_revision
from indexer.storage.partitions import ensure_partitions
from tests.support.command_line import Command
from tests.support.rows import insert_blocks
from tests.support.stack import unique
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration


def test_tables_py_and_the_migrated_database_are_equal(migrated: Settings, database: engine.Connection) -> None:
    ensure_partitions(database, [1], 1000)

    assert check(migrated).current


def test_a_difference_is_told(migrated: Settings, database: engine.Connection) -> None:
    database.execute("ALTER TABLE outbox DROP COLUMN partition; CREATE TABLE strangers_table (x int)")

    state = check(migrated)

    assert not state.current
    assert len(state.differences) == 1
    assert "partition" in state.differences[0]


def test_this_code_needs_the_newest_revision() -> None:
    assert newest_revision() == engine.REVISION


def test_two_migrations_at_once_are_one(database_url: str) -> None:
    settings = Settings(database_url=database_url)
    with ThreadPoolExecutor(3) as pool:
        states = list(pool.map(lambda _: migrate(settings), range(3)))

    assert sorted(bool(state.pending) for state in states) == [False, False, True]
    assert check(settings).current


def test_a_dry_run_does_nothing(database_url: str) -> None:
    settings = Settings(database_url=database_url)

    assert migrate(settings, dry_run=True).pending
    assert migrate(settings, dry_run=True).pending


def test_a_database_that_was_never_migrated_is_refused_with_a_way_out(database_url: str) -> None:
    with pytest.raises(UserError, match="indexer db migrate") as refused:
        engine.connect(Settings(database_url=database_url), "persister")
    assert refused.value.code == "DATABASE_NOT_MIGRATED"


def test_another_revision_is_refused(migrated: Settings, database: engine.Connection) -> None:
    database.execute("UPDATE schema_revision SET version_num = '0000'")
    with pytest.raises(UserError, match="0000"):
        engine.connect(migrated, "persister")

    database.execute("UPDATE schema_revision SET version_num = '9999'")
    engine.connect(migrated, "persister").close()  # a newer one only adds
    with pytest.raises(UserError, match="newer release"):
        migrate(migrated)


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def strange(request: pytest.FixtureRequest, postgres: str) -> Iterator[tuple[str, Settings]]:
    """An encoding that is not UTF8, and settings with an empty database in it."""
    name = unique("strange")
    with psycopg.connect(postgres, autocommit=True) as server:
        statement = "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        server.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(request.param)))
        yield request.param, Settings(database_url=urlsplit(postgres)._replace(path=f"/{name}").geturl())
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("arguments", [("db", "migrate"), ("db", "check"), ("batch", "status")])
def test_a_database_that_is_not_in_utf8_is_refused_in_one_line(
    strange: tuple[str, Settings], command: Command, arguments: tuple[str, str]
) -> None:
    encoding, settings = strange

    ran = command(settings, *arguments)

    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert f"the database's encoding is {encoding}; it must be UTF8: " in line
    assert "ENCODING 'UTF8' TEMPLATE template0" in line


def test_a_connection_speaks_utf8_whatever_its_surroundings_say(
    migrated: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    asking = replace(migrated, database_url=f"{migrated.database_url}?client_encoding=LATIN1")

    for settings in (migrated, asking):
        with engine.connect(settings, "test") as connection:
            assert connection.execute("SHOW client_encoding").fetchone() == ("UTF8",)
            assert connection.execute("SELECT length(%s)", ("→ü",)).fetchone() == (2,)


def test_a_wrong_address_user_or_name_is_told_without_the_password(migrated: Settings) -> None:
    url = migrated.database_url
    nobody = replace(migrated, database_url="postgresql://u:hunter2@127.0.0.1:1/x?connect_timeout=1")
    with pytest.raises(OutageError) as away:
        engine.connect(nobody, "persister")
    with pytest.raises(UserError) as missing:
        engine.connect(replace(migrated, database_url=url + "_not"), "persister")
    with pytest.raises(UserError) as strange:
        engine.connect(replace(migrated, database_url="mysql://root:hunter2@localhost/x"), "persister")

    assert (away.value.code, missing.value.code) == ("DATABASE_DOWN", "DATABASE_MISSING")
    assert strange.value.code == "DATABASE_URL_INVALID"
    assert "hunter2" not in f"{away.value}{missing.value}{strange.value}"


def test_connections_say_who_they_are(migrated: Settings) -> None:
    settings = replace(migrated, slot="3", topic_prefix="a.")
    with engine.connect(settings, "persister", autocommit=True) as connection:
        row = connection.execute("SELECT current_setting('application_name')").fetchone()

    assert row == ("a.indexer-persister-3",)
    assert len(engine.application_name(replace(settings, topic_prefix="x" * 80, slot="s" * 80), "persister")) <= 63


def test_reconnecting_goes_on_until_asked_to_stop() -> None:
    settings = Settings(database_url="postgresql://u:p@127.0.0.1:1/x")

    with pytest.raises(OutageError):
        engine.reconnect(settings, "producer", lambda: True)


def test_the_views_answer(migrated: Settings, database: engine.Connection) -> None:
    database.execute("INSERT INTO chain_state (chain_id, finalized_to, canonical_to) VALUES (1, 5, 9)")
    for view in ("coverage", "contiguous_to", "position_entries"):
        assert database.execute(f"SELECT * FROM {view}").fetchall() == []  # type: ignore[call-overload]
    assert database.execute("SELECT finalized_to FROM finalized_to").fetchall() == [(5,)]
    assert database.execute("SELECT canonical_to FROM canonical_to").fetchall() == [(9,)]
    for table in ("blocks", "transactions", "logs", "token_transfers"):
        assert database.execute(f"SELECT * FROM ethereum_etl.{table}").fetchall() == []  # type: ignore[call-overload]


def test_coverage_names_each_complete_range_and_contiguous_to_the_end_of_the_first(
    migrated: Settings, database: engine.Connection
) -> None:
    insert_blocks(database, (*range(1, 11), *range(210, 221), 250), chain_id=1)
    insert_blocks(database, (7, 8), chain_id=2)

    ranges = database.execute("SELECT chain_id, from_number, to_number, blocks FROM coverage ORDER BY 1, 2").fetchall()
    assert ranges == [(1, 1, 10, 10), (1, 210, 220, 11), (1, 250, 250, 1), (2, 7, 8, 2)]
    first = database.execute("SELECT chain_id, from_number, contiguous_to FROM contiguous_to ORDER BY 1").fetchall()
    assert first == [(1, 1, 10), (2, 7, 8)]


def test_where_nothing_is_followed_sums_go_to_the_end_of_what_is_complete(
    migrated: Settings, database: engine.Connection
) -> None:
    insert_blocks(database, (*range(1, 11), 250), chain_id=1)
    limit = """
        SELECT coalesce((SELECT canonical_to FROM canonical_to WHERE chain_id = 1),
                        (SELECT contiguous_to FROM contiguous_to WHERE chain_id = 1))
    """  # as in docs/guide/following.md

    assert database.execute(limit).fetchall() == [(10,)]
    database.execute("INSERT INTO chain_state (chain_id, canonical_to) VALUES (1, 8)")
    assert database.execute(limit).fetchall() == [(8,)]


def test_db_commands(command: Command, database_url: str) -> None:
    settings = Settings(database_url=database_url)

    assert command(settings, "db", "check").code == 1
    assert "would apply 0001" in command(settings, "db", "migrate", "--dry-run").out
    assert command(settings, "db", "migrate", "--json").json()["applied"] is True
    assert "nothing to do" in command(settings, "db", "migrate").out
    assert "the database is current" in command(settings, "db", "check").out
    assert command(settings, "db", "check", "--json").json()["current"] is True


def test_db_forget_offsets(command: Command, migrated: Settings, database: engine.Connection) -> None:
    database.execute(
        "INSERT INTO consumer_progress (consumer_group, topic, partition, topic_id, epoch, next_offset)"
        " VALUES ('g', 't', 0, 'old', 7, 99)"
    )

    assert "1 partitions" in command(migrated, "db", "forget-offsets", "t", "--yes").out
    assert command(migrated, "db", "forget-offsets", "u", "--yes").code == 2
    row = database.execute("SELECT topic_id, epoch, next_offset FROM consumer_progress").fetchone()
    assert row == ("", 8, 0)


def test_offsets_are_not_forgotten_while_their_owner_lives(
    command: Command, migrated: Settings, database: engine.Connection
) -> None:
    database.execute(
        "INSERT INTO consumer_progress (consumer_group, topic, partition, topic_id, epoch, next_offset)"
        " VALUES ('g', 't', 0, 'old', 7, 99), ('g', 'u', 0, 'old', 7, 99)"
    )
    with engine.connect(replace(migrated, slot="3"), "persister", autocommit=True) as persister:
        persister.execute(
            "UPDATE consumer_progress SET backend_pid = a.pid, backend_start = a.backend_start FROM pg_stat_activity a"
            " WHERE a.pid = pg_backend_pid() AND topic = 't'"
        )
        refused = command(migrated, "db", "forget-offsets", "t", "--yes")
        assert command(migrated, "db", "forget-offsets", "u", "--yes").code == 0

    assert (refused.code, refused.out) == (2, "")
    assert refused.err.endswith("indexer-persister-3 stores t: stop the persisters first\n")
    assert database.execute("SELECT next_offset FROM consumer_progress WHERE topic = 't'").fetchone() == (99,)
    wait_for(lambda: command(migrated, "db", "forget-offsets", "t", "--yes").code == 0, 10, "the session has ended")


def test_sqlalchemy_gets_connections_from_the_same_place(migrated: Settings) -> None:
    from sqlalchemy import text

    with engine.create_engine(replace(migrated, slot="9"), "verify").connect() as connection:
        assert str(connection.execute(text("SELECT current_setting('application_name')")).scalar()).endswith("verify-9")


def test_libpq_reads_sqlalchemys_url_too() -> None:
    assert engine.psycopg_url("postgresql+psycopg://u:p@h/x") == "postgresql://u:p@h/x"
    assert psycopg.conninfo.conninfo_to_dict(engine.psycopg_url("postgres://u@h/x"))["host"] == "h"
