"""`indexer audit` finds each row and block that is deleted or altered in a stored chain, and says what is only open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg.types.json import Jsonb

from devchain.build import open_chain
from devchain.client import Devchain
from devchain.params import ChainParams
from indexer.errors import OutageError
from indexer.jobs.ranges import Ranges
from indexer.kafka.positions import logs
from indexer.limits import HIGHEST_STORED
from indexer.records import Reason
from indexer.settings import Settings
from indexer.storage import auditing, balances, engine, jobs, lost_rows
from indexer.storage.engine import Connection
from indexer.topics import load_topics
from services.persister.connections import PartitionKeeper
from tests.support.command_line import Command, Ran
from tests.support.deployment import own_database, own_topics
from tests.support.storing import decoded, store
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

HEAD = 40


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devchain]:
    cache = tmp_path_factory.mktemp("chains")
    with Devchain.simulated(profile="mixed", blocks=HEAD, cache=cache) as devchain:
        yield devchain


@pytest.fixture(scope="module")
def template(
    node: Devchain, postgres: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The name of a database in which a job that is done has stored the chain."""
    chain = open_chain(ChainParams(profile="mixed", blocks=HEAD), tmp_path_factory.mktemp("own"), jobs=1)
    with own_database(postgres, migrated_template) as settings:
        with engine.connect(settings, "test", autocommit=True) as connection:
            job = jobs.create_job(connection, jobs.NewJob(settings.chain_id, Ranges.of([(0, HEAD + 1)])))
            connection.execute(
                "INSERT INTO job_coverage (job_id, stripe, chain_id, wanted, stored, dead, published_at)"
                " VALUES (%s, 0, %s, %s::bigint::bit(64), 0::bigint::bit(64), 0::bigint::bit(64), now())",
                (job, settings.chain_id, (1 << (HEAD + 1)) - 1),
            )
        store(settings, [decoded(chain, number) for number in range(HEAD + 1)])
        chain.close()
        with engine.connect(settings, "test", autocommit=True) as connection:
            connection.execute("UPDATE processing_jobs SET state = 'done'")
        yield urlsplit(settings.database_url).path.lstrip("/")


@pytest.fixture
def stored(postgres: str, node: Devchain, template: str) -> Iterator[Settings]:
    with own_database(postgres, template) as settings:
        yield replace(settings, rpc_urls=(node.url,))


def change(settings: Settings, statement: str, rows: int = 1) -> None:
    with engine.connect(settings, "test", autocommit=True) as connection:
        assert connection.execute(statement.encode()).rowcount == rows, statement


def found(ran: Ran) -> dict[str, list[list[int]]]:
    """Kind → ranges."""
    assert ran.code == 1, ran.out + ran.err
    return {each["kind"]: each["ranges"] for each in ran.json()["findings"]}


def test_a_sound_store_has_nothing_wrong(stored: Settings, command: Command) -> None:
    ran = command(stored, "audit", "--json", "--sample", HEAD + 1)

    report: dict[str, Any] = ran.json()
    assert (ran.code, report["findings"], report["open"]) == (0, [], [])
    looked = report["looked_at"]
    assert looked["expected"] == looked["stored"] == looked["asked the node"] == HEAD + 1
    assert looked["balances"] > 100
    assert "transactions.receipt_extra" in report["not_proven"]["columns"]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE blocks SET gas_limit = gas_limit + 1", "rows"),
        ("UPDATE blocks SET hash = sha256(hash)", "rows"),
        ("UPDATE blocks SET transaction_count = transaction_count + 1", "rows"),
        ("UPDATE blocks SET logs_bloom = sha512(logs_bloom)", "rows"),
        ("UPDATE blocks SET undecoded_logs = 7", "derived rows"),
        ("UPDATE transactions SET value = value + 1", "rows"),
        ("UPDATE transactions SET from_address = substr(hash, 1, 20)", "rows"),
        ("UPDATE transactions SET receipt_status = 1 - receipt_status", "rows"),
        ("UPDATE transactions SET transaction_index = 999", "rows"),
        ("UPDATE transactions SET max_fee_per_gas = 5, type = 0", "rows"),
        ("UPDATE transactions SET extra = '{\"memo\": 1}'", "rows"),
        ("UPDATE transactions SET value = 'NaN'", "rows"),
        ("UPDATE transactions SET r = '\\x00' || r", "rows"),
        ("UPDATE blocks SET extra = extra || '{\"memo\": 1}'", "rows"),
        ("UPDATE token_transfers SET amount = 'NaN'", "derived rows"),
        ("UPDATE logs SET data = data || '\\x00'", "rows"),
        ("UPDATE logs SET address = substr(sha256(address), 1, 20)", "rows"),
        ("DELETE FROM transactions", "rows"),
        ("DELETE FROM logs", "rows"),
        ("UPDATE token_transfers SET amount = amount + 1", "derived rows"),
        ("DELETE FROM token_transfers", "derived rows"),
    ],
)
def test_every_altered_row_is_found_without_a_node(
    stored: Settings, command: Command, statement: str, kind: str
) -> None:
    table = statement.split()[1] if statement.startswith("UPDATE") else statement.split()[2]
    with engine.connect(stored, "test", autocommit=True) as connection:
        row = connection.execute("SELECT max(block_number) FROM token_transfers WHERE log_index = 0").fetchone()
        assert row is not None
    number = row[0]
    key = {"blocks": f"number = {number}", "transactions": f"block_number = {number} AND transaction_index = 0"}.get(
        table, f"block_number = {number} AND log_index = 0"
    )
    change(stored, f"{statement} WHERE {key}")

    ran = command(replace(stored, rpc_urls=()), "audit", "--json", "--sample", 0, "--no-balances")

    assert found(ran)[kind] == [[number, number]]


# values that the types of columns admit
ODD: dict[str, tuple[str, ...]] = {
    "numeric": ("'NaN'", "10::numeric ^ 78 - 1", "-1"),
    "bigint": ("-1", "9223372036854775807"),
    "integer": ("-1", "2147483647"),
    "smallint": ("-1", "32767"),
    "bytea": ("''", "'\\x07'", "decode(repeat('07', 300), 'hex')"),
    "jsonb": (
        "(repeat('[', 4000) || repeat(']', 4000))::jsonb",
        """'{"accessList": [5], "auraSeal": 1e400, "l1BlockNumber": null}'""",
        "'[]'",
    ),
    "ARRAY": ("'{NULL}'", "'[0:1]={NULL,NULL}'", "'{{NULL}}'"),
    "timestamp with time zone": ("'infinity'", "'294276-01-01'", "'-infinity'"),
    "text": ("'erc721'",),
}
ROW = {
    "token_transfers": "block_number, log_index, batch_index",
    "logs": "block_number, log_index",
    "transactions": "block_number, transaction_index",
    "blocks": "number",
}
KEYS = {"chain_id", "number", "block_number", "transaction_index", "log_index", "batch_index", "kind"}
OWN_COLUMNS = {"blocks.generation", "blocks.model_version", "blocks.stored_at"}


def columns_of(connection: Connection) -> list[tuple[str, str, str]]:
    """(table, column, type) of all that is in no key, the rarest rows first."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = ANY(%s) AND column_name <> ALL(%s)"
        " ORDER BY array_position(%s, table_name::text), 2",
        (list(ROW), list(KEYS), list(ROW)),
    )
    return rows.fetchall()


def alter(connection: Connection, columns: list[tuple[str, str, str]], turn: int) -> dict[int, str]:
    """Put an odd value into each column, in another block each; return height → table.column."""
    altered: dict[int, str] = {}
    for table, name, type_ in columns:
        key, value = ROW[table], ODD[type_][turn % len(ODD[type_])]
        height = key.split(",")[0]
        row = connection.execute(
            f"UPDATE {table} SET {name} = {value} WHERE ({key}) = (SELECT {key} FROM {table}"
            f" WHERE {height} > 0 AND {height} <> ALL(%s) ORDER BY {key} LIMIT 1) RETURNING {height}".encode(),
            (list(altered),),
        ).fetchone()
        assert row is not None, f"no block is left for {table}.{name}"
        altered[row[0]] = f"{table}.{name}"
    return altered


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_whatever_the_tables_admit_ends_as_a_finding_about_its_block(
    stored: Settings, command: Command, half: int, turn: int
) -> None:
    with engine.connect(stored, "test", autocommit=True) as connection:
        altered = alter(connection, columns_of(connection)[half::2], turn)

    ran = command(stored, "audit", "--json", "--sample", HEAD + 1)

    ranges = [pair for kind, pairs in found(ran).items() if kind != "parent link" for pair in pairs]
    wrong = {number for first, last in ranges for number in range(first, last + 1)}
    assert wrong <= set(altered)
    assert {altered[number] for number in set(altered) - wrong} <= OWN_COLUMNS


def test_missing_blocks_and_rows_without_their_block_are_found(stored: Settings, command: Command) -> None:
    change(stored, "DELETE FROM blocks WHERE number IN (7, 20, 21)", 3)

    kinds = found(command(stored, "audit", "--json", "--sample", 0))

    assert kinds["missing"] == [[7, 7], [20, 21]]
    assert {low for low, _ in kinds["rows without block"]} <= {7, 20}


FAR = 50_000  # above all that is stored or asked for


def far_rows(settings: Settings) -> None:
    """Copies of all transfers at FAR, which balances count too, and a block's logs that lie above that."""
    PartitionKeeper(settings)({FAR, FAR + 1})
    with engine.connect(settings, "test", autocommit=True) as connection:
        connection.execute(
            "INSERT INTO token_transfers SELECT chain_id, %s, block_number * 10000 + log_index, batch_index,"
            " token_address, from_address, to_address, standard, kind, token_id, amount FROM token_transfers",
            (FAR,),
        )
        connection.execute("UPDATE balances SET balance = 2 * balance")
        connection.execute(
            "INSERT INTO logs SELECT (r).* FROM (SELECT jsonb_populate_record(l, %s) AS r FROM logs l"
            " WHERE block_number = (SELECT max(block_number) FROM logs)) AS x",
            (Jsonb({"block_number": FAR + 1}),),
        )


def test_rows_above_all_that_is_known_are_found_and_removed(stored: Settings, command: Command, tmp_path: Path) -> None:
    far_rows(stored)

    report = command(stored, "audit", "--json", "--sample", 0)
    (tmp_path / "report.json").write_text(report.out)
    assert found(report)["rows without block"] == [[FAR, FAR + 1]]
    assert "balances" in found(report)
    assert command(stored, "verify", "--offline").code == 1
    would = command(stored, "repair", tmp_path / "report.json", "--dry-run", "--json").json()
    done = command(stored, "repair", tmp_path / "report.json", "--yes", "--json").json()

    assert would == {**done, "balances": would["balances"], "dry_run": True}
    assert (done["emptied"], done["blocks"], done["job"]) == (2, 0, None)
    assert command(stored, "audit", "--json", "--sample", 0).code == 0
    assert command(stored, "verify", "--offline").code == 0


def test_an_audit_up_to_a_height_leaves_out_what_lies_above(stored: Settings, command: Command) -> None:
    far_rows(stored)

    assert command(stored, "audit", "--json", "--sample", 0, "--no-balances", "--to", HEAD).code == 0
    assert found(command(stored, "audit", "--json", "--sample", 0, "--no-balances", "--from", 5)) == {
        "rows without block": [[FAR, FAR + 1]]
    }


def test_rows_without_their_block_go_with_what_they_did_to_balances(stored: Settings) -> None:
    far_rows(stored)
    with engine.connect(stored, "test", autocommit=True) as connection:
        removed = lost_rows.remove(connection, stored.chain_id, Ranges.of([(0, FAR + 2)]))

        assert removed > 100
        assert lost_rows.heights(connection, stored.chain_id, 0, HIGHEST_STORED - 1) == []
        assert list(balances.wrong_keys(connection, stored.chain_id)) == []


@pytest.mark.parametrize(
    "loss",
    [
        "DELETE FROM job_coverage",
        "UPDATE job_coverage SET stored = 0::bigint::bit(64)",
        "UPDATE job_coverage SET stored = 0::bigint::bit(64), dead = wanted",
        "UPDATE job_coverage SET wanted = 1::bigint::bit(64), stored = 1::bigint::bit(64)",
    ],
)
def test_what_a_job_does_not_count_is_counted_by_a_repair(
    stored: Settings, command: Command, tmp_path: Path, loss: str
) -> None:
    with engine.connect(stored, "test", autocommit=True) as connection:
        before = connection.execute("SELECT job_id, stripe, wanted, stored, dead FROM job_coverage").fetchall()
    change(stored, loss)
    report = command(stored, "audit", "--json", "--sample", 0)
    (tmp_path / "report.json").write_text(report.out)
    assert list(found(report)) == ["not counted"]

    done = command(stored, "repair", tmp_path / "report.json", "--yes", "--json").json()

    assert (done["job"], done["blocks"], done["counted"] > 0) == (None, 0, True)
    assert command(stored, "audit", "--json", "--sample", 0).code == 0
    with engine.connect(stored, "test", autocommit=True) as connection:
        assert connection.execute("SELECT job_id, stripe, wanted, stored, dead FROM job_coverage").fetchall() == before


def test_a_lost_row_of_coverage_speaks_of_what_is_missing_too(stored: Settings, command: Command) -> None:
    change(stored, "DELETE FROM job_coverage")
    change(stored, "DELETE FROM blocks WHERE number = 7")
    with engine.connect(stored, "test", autocommit=True) as connection:
        assert auditing.count_stored(connection, stored.chain_id, Ranges.of([(5, 6)])) == 1

        row = connection.execute("SELECT wanted::bigint, stored::bigint FROM job_coverage").fetchone()

    everything = (1 << (HEAD + 1)) - 1
    assert row == (everything, everything & ~(1 << 7))


@pytest.mark.parametrize("column", ["size = size + 1", "total_difficulty = coalesce(total_difficulty, 0) + 1"])
def test_what_no_proof_covers_is_found_by_the_node(stored: Settings, command: Command, column: str) -> None:
    change(stored, f"UPDATE blocks SET {column} WHERE number = 12")

    assert command(stored, "audit", "--json", "--sample", 0).code == 0
    assert found(command(stored, "audit", "--json", "--sample", HEAD + 1)) == {"node": [[12, 12]]}


def follow_ended_at(settings: Settings, number: int) -> None:
    change(
        settings,
        "INSERT INTO chain_state (chain_id, generation, finalized_to, canonical_to)"
        f" VALUES ({settings.chain_id}, 5, {number}, {number})",
    )


def test_a_follower_that_ended_long_ago_does_not_end_the_sample(stored: Settings, command: Command) -> None:
    follow_ended_at(stored, 5)
    change(stored, "UPDATE blocks SET size = size + 1 WHERE number BETWEEN 30 AND 34", 5)

    ran = command(stored, "audit", "--json", "--from", 30, "--to", HEAD)

    assert found(ran) == {"node": [[30, 34]]}
    assert ran.json()["looked_at"]["asked the node"] == HEAD - 30 + 1


def test_what_is_not_final_is_not_compared_and_the_report_says_so(stored: Settings, command: Command) -> None:
    follow_ended_at(stored, 5)
    change(stored, "UPDATE blocks SET size = size + 1 WHERE number >= 35", HEAD - 34)
    settings = replace(stored, confirmations=6)

    some = command(settings, "audit", "--from", 30, "--to", HEAD, "--no-balances")
    none = command(settings, "audit", "--from", 35, "--to", HEAD, "--no-balances")
    unasked = command(settings, "audit", "--from", 35, "--to", HEAD, "--no-balances", "--sample", 0)

    assert (some.code, none.code) == (0, 0)
    assert "5 asked the node" in some.out
    assert "NOT COMPARED" not in some.out + unasked.out
    assert "NOT COMPARED with a node: none of the stored blocks (6 not final)" in none.out


def test_what_a_rollback_will_take_is_not_compared(stored: Settings, command: Command) -> None:
    follow_ended_at(stored, 5)
    change(
        stored, f"INSERT INTO rollbacks (chain_id, from_number, generation) VALUES ({stored.chain_id}, {HEAD - 2}, 5)"
    )

    looked = command(stored, "audit", "--json", "--sample", HEAD + 1).json()["looked_at"]

    assert (looked["asked the node"], looked["not final"]) == (HEAD - 2, 3)


def test_a_sample_that_the_node_knows_nothing_of_is_named(stored: Settings, node: Devchain, command: Command) -> None:
    node.faults(head=20)
    try:
        ran = command(stored, "audit", "--from", 30, "--to", 34, "--no-balances")
    finally:
        node.faults(reset=True)

    assert "none of the stored blocks (5 asked the node, which has no such block)" in ran.out


def test_a_second_node_that_differs_is_named(stored: Settings, command: Command) -> None:
    with Devchain.simulated(profile="mixed", blocks=HEAD, seed=5) as other:
        ran = command(stored, "audit", "--json", "--sample", 5, "--second-node", other.url)

    assert list(found(ran)) == ["second node"]
    assert not ran.json()["findings"][0]["repair"]


def test_an_altered_balance_is_found(stored: Settings, command: Command) -> None:
    change(
        stored,
        "UPDATE balances SET balance = balance + 1 WHERE (token_address, token_id, holder) ="
        " (SELECT token_address, token_id, holder FROM balances LIMIT 1)",
    )

    assert list(found(command(stored, "audit", "--json", "--sample", 0))) == ["balances"]


def test_a_dead_letter_explains_its_block_and_a_lost_one_does_not(stored: Settings, command: Command) -> None:
    change(stored, "DELETE FROM blocks WHERE number IN (30, 31)", 2)
    for table in ("transactions", "logs", "token_transfers", "decoded_events", "transaction_processing"):
        with engine.connect(stored, "test", autocommit=True) as connection:
            connection.execute(f"DELETE FROM {table} WHERE block_number IN (30, 31)".encode())
    change(
        stored,
        "UPDATE job_coverage SET stored = stored & ~x.m, dead = x.m FROM (SELECT (3::bigint << 30)::bit(64) m) x",
    )
    change(
        stored,
        "INSERT INTO dead_letters (chain_id, origin_topic, origin_topic_id, origin_partition, origin_offset,"
        " replay_count, block_number, service, stage, code, error_class, message, fingerprint, attempts,"
        " record_headers) VALUES (43114, 't', 'i', 0, 0, 0, 30, 's', 's', 'c', 'e', 'm', 'f', 1, '[]')",
    )

    ran = command(stored, "audit", "--json", "--sample", 0, "--no-balances")

    assert found(ran) == {"dead without letter": [[31, 31]]}
    (open_,) = ran.json()["open"]
    assert (open_["why"], open_["ranges"]) == ("its dead letter waits", [[30, 30]])


def test_what_a_live_job_has_not_stored_yet_is_open_and_not_wrong(stored: Settings, command: Command) -> None:
    change(stored, "UPDATE processing_jobs SET state = 'paused', blocks = '{[0,100)}'")

    ran = command(stored, "audit", "--json", "--sample", 0)

    assert ran.code == 0
    assert [(each["why"], each["ranges"]) for each in ran.json()["open"]] == [
        ("paused, not published yet", [[HEAD + 1, 99]])
    ]


def test_a_named_range_is_expected_even_if_no_job_asks(stored: Settings, command: Command) -> None:
    ran = command(stored, "audit", "--json", "--sample", 0, "--from", 30, "--to", 50)

    assert found(ran) == {"not asked for": [[41, 50]]}


def test_an_audit_that_is_a_job_leaves_its_report(stored: Settings, command: Command) -> None:
    change(stored, "DELETE FROM blocks WHERE number = 7")

    assert command(stored, "audit", "--job", "--sample", 0).code == 1

    assert "audit 1  findings" in command(stored, "batch", "status").out
    dry = command(stored, "repair", "--audit", 1, "--dry-run", "--json").json()
    assert (dry["job"], dry["ranges"]) == (None, [[7, 7]])


@pytest.mark.parametrize("more", [(), ("--wait",), ("--wait", "--json")], ids=" ".join)
def test_no_block_is_replaced_unless_that_is_confirmed(
    stored: Settings, command: Command, tmp_path: Path, more: tuple[str, ...]
) -> None:
    change(stored, "UPDATE blocks SET gas_limit = gas_limit + 1 WHERE number = 30")
    report = tmp_path / "report.json"
    report.write_text(command(stored, "audit", "--json", "--sample", 0).out)

    refused = command(stored, "repair", report, *more)
    queued = command(stored, "repair", report, "--yes", "--json").json()

    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert refused.err.startswith("error: fetch 1 blocks again and replace what is stored of them")
    assert (queued["blocks"], queued["job"]) == (1, 2)  # the job after the one that stored the chain


@pytest.mark.parametrize("more", [(), ("--json",)], ids=" ".join)
def test_no_balance_is_set_unless_that_is_confirmed(stored: Settings, command: Command, more: tuple[str, ...]) -> None:
    change(
        stored,
        "UPDATE balances SET balance = balance + 1 WHERE (token_address, token_id, holder) ="
        " (SELECT token_address, token_id, holder FROM balances LIMIT 1)",
    )

    refused = command(stored, "repair", "--balances", *more)
    looked = command(stored, "repair", "--balances", "--dry-run", "--json").json()
    done = command(stored, "repair", "--balances", "--yes", "--json").json()

    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert refused.err.startswith("error: set 1 balances to the sum of their transfers?")
    assert (looked["balances"], done["balances"]) == (1, 1)
    assert command(stored, "repair", "--balances", "--json").json()["balances"] == 0  # nothing to confirm


@pytest.mark.parametrize("change_", ["amount = 'NaN'", "token_id = 'NaN'", "amount = -1", "token_address = '\\x07'"])
@pytest.mark.parametrize("compiled", ["auto", "off"])
def test_a_repair_replaces_what_is_no_transfer(
    stored: Settings, command: Command, tmp_path: Path, change_: str, compiled: str
) -> None:
    settings = replace(stored, native=compiled)
    with engine.connect(stored, "test", autocommit=True) as connection:
        row = connection.execute(
            f"UPDATE token_transfers SET {change_} WHERE ({ROW['token_transfers']}) ="
            f" (SELECT {ROW['token_transfers']} FROM token_transfers LIMIT 1) RETURNING block_number".encode()
        ).fetchone()
        assert row is not None
    chain = open_chain(ChainParams(profile="mixed", blocks=HEAD), tmp_path, jobs=1)

    store(settings, [replace(decoded(chain, row[0]), reason=Reason.REPAIR)])
    chain.close()
    command(settings, "repair", "--balances", "--yes")

    assert command(settings, "audit", "--json", "--sample", 0).code == 0


def test_a_balance_of_no_number_is_found_and_brought_right(stored: Settings, command: Command) -> None:
    with engine.connect(stored, "test", autocommit=True) as connection:
        for change_ in ("balance = 'NaN'", "balance = 'Infinity'", "token_id = 'NaN'"):
            connection.execute(
                f"UPDATE balances SET {change_} WHERE (token_address, token_id, holder) = (SELECT token_address,"
                " token_id, holder FROM balances WHERE balance NOT IN ('NaN', 'Infinity') AND balance <> 0"
                " LIMIT 1)".encode()
            )

    audited = command(stored, "audit", "--json", "--sample", 0).json()
    done = command(stored, "repair", "--balances", "--yes", "--json").json()

    assert [(each["kind"], each["count"]) for each in audited["findings"]] == [("balances", 4)]
    assert done["balances"] == 4
    assert command(stored, "audit", "--json", "--sample", 0).code == 0


def test_the_report_of_another_chain_is_refused(stored: Settings, command: Command, tmp_path: Path) -> None:
    change(stored, "UPDATE blocks SET gas_limit = gas_limit + 1 WHERE number = 30")
    report = tmp_path / "report.json"
    report.write_text(command(stored, "audit", "--json", "--sample", 0).out)

    refused = command(replace(stored, chain_id=1), "repair", report, "--yes", "--json")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("error: the report is of chain 43114, and CHAIN_ID says 1")
    assert command(stored, "repair", report, "--dry-run", "--json").json()["ranges"] == [[30, 30]]


def test_positions_of_other_deployments_are_left_out(stored: Settings, kafka: str, command: Command) -> None:
    gone = ("persister", "blocks.decoded")
    with own_topics(stored, kafka) as settings, engine.connect(settings, "test", autocommit=True) as connection:
        for prefix in (settings.topic_prefix, "another."):
            connection.execute(
                "INSERT INTO consumer_progress (consumer_group, topic, partition, topic_id, epoch, next_offset)"
                " VALUES (%s, %s, 0, '', 1, 0)",
                [prefix + each for each in gone],
            )

        wait_for(lambda: have_leaders(settings), 30, "the topics have leaders")

        ran = command(settings, "audit", "--sample", 0, "--no-balances")

        assert ran.code == 0, ran.out + ran.err
        assert "1 positions, 1 positions of other deployments left out" in ran.out
        connection.execute("UPDATE consumer_progress SET next_offset = 5")
        assert command(settings, "audit", "--sample", 0, "--no-balances").out.count("beyond the log's end") == 1


def have_leaders(settings: Settings) -> bool:
    try:
        return bool(logs(settings, {load_topics(settings.topic_prefix).decoded}))
    except OutageError:
        return False


def test_the_report_for_people_says_what_to_do(stored: Settings, command: Command) -> None:
    change(stored, "UPDATE blocks SET gas_limit = gas_limit + 1 WHERE number = 30")

    ran = command(stored, "audit", "--sample", 0)

    assert "WRONG rows: 1 " in ran.out
    assert "HEADER_HASH_MISMATCH" in ran.out
    assert "`indexer repair" in ran.out
