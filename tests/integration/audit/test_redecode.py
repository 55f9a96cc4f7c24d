"""Logs decoded again: the same rows as a fresh index, whatever a persister does meanwhile (PROTOCOL 19)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devchain.build import open_chain
from devchain.chainfile import ChainFile
from devchain.params import ChainParams
from indexer.abi.decode import decode_logs
from indexer.abi.models import load_models, wrapped_native
from indexer.audit.rows import Decoding
from indexer.records import DecodedBlock
from indexer.redecode.changes import Redecoded, redecode
from indexer.settings import Settings
from indexer.storage import engine, redecoding
from indexer.storage.digest import Digest, digest, wrong_balances
from indexer.storage.engine import Connection
from indexer.storage.redecoding import Owner
from indexer.storage.stored import load_blocks
from indexer.topics import partition_of
from tests.support.command_line import Command
from tests.support.deployment import CHAIN_ID, own_database
from tests.support.storing import PARTITIONS, decoded, store
from tests.support.waiting import wait_for

pytestmark = pytest.mark.integration

HEAD = 150
OWNER = Owner("persister", "blocks.decoded")
WRONG = "event Transfer(address from, address indexed to, uint256 value)"
RIGHT = "event Transfer(address indexed from, address indexed to, uint256 value)"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainFile]:
    chain = open_chain(ChainParams(profile="mixed", blocks=HEAD), tmp_path_factory.mktemp("chain"), jobs=1)
    yield chain
    chain.close()


def model(folder: Path, signature: str, version: int) -> Path:
    path = folder / "erc20.toml"
    path.write_text(f'name = "erc20"\nversion = {version}\ncontracts = "*"\nabi = ["{signature}"]\n')
    return path


def index(settings: Settings, chain: ChainFile, decoding: Decoding) -> None:
    """Store the chain as decoders with these models do."""
    store(settings, [of_models(decoded(chain, number), decoding) for number in range(HEAD + 1)])


def of_models(block: DecodedBlock, decoding: Decoding) -> DecodedBlock:
    found = decode_logs(block.logs, block.header.number, decoding.models, decoding.wrapped)
    return replace(
        block,
        token_transfers=found.token_transfers,
        decoded_events=found.decoded_events,
        undecoded_logs=found.undecoded,
        model_version=decoding.models.version,
    )


def digested(settings: Settings) -> Digest:
    with engine.connect(settings, "test", autocommit=True) as connection:
        assert wrong_balances(connection, CHAIN_ID) == []
        return digest(connection, CHAIN_ID)


def test_a_mended_abi_gives_the_rows_of_a_fresh_index(
    deployment: Settings, postgres: str, migrated_template: str, chain: ChainFile, tmp_path: Path, command: Command
) -> None:
    index(deployment, chain, Decoding(load_models([model(tmp_path, WRONG, 1)]), frozenset()))
    right = Decoding(load_models([model(tmp_path, RIGHT, 2)]), wrapped_native(CHAIN_ID))
    with own_database(postgres, migrated_template) as fresh:
        index(fresh, chain, right)
        ought = digested(fresh)
    settings = replace(deployment, models=(str(tmp_path / "erc20.toml"),))
    before = digested(settings)

    dry = command(settings, "redecode", "--model", "erc20", "--dry-run", "--json").json()
    assert digested(settings) == before
    half = command(settings, "redecode", "--model", "erc20", "--to", HEAD // 2)
    rest = command(settings, "redecode", "--model", "erc20", "--json").json()

    assert half.code == 0, half.err
    assert digested(settings) == ought
    assert dry["blocks"] == rest["blocks"] == HEAD + 1
    assert (dry["events before"], dry["events after"] > 0) == (0, True)
    assert 0 < rest["changed"] < dry["changed"]
    again = command(settings, "redecode", "--model", "erc20", "--json").json()
    assert again["right already"] == HEAD + 1


def test_rows_of_newer_models_stay(deployment: Settings, chain: ChainFile, tmp_path: Path, command: Command) -> None:
    index(deployment, chain, Decoding(load_models([model(tmp_path, RIGHT, 5)]), frozenset()))
    before = digested(deployment)
    settings = replace(deployment, models=(str(model(tmp_path, WRONG, 1)),))

    assert command(settings, "redecode", "--model", "erc20", "--json").json()["of newer models"] == HEAD + 1
    assert digested(deployment) == before


def test_a_model_that_is_not_in_force_is_refused(deployment: Settings, command: Command) -> None:
    ran = command(deployment, "redecode", "--model", "erc20")

    assert ran.code == 2
    assert "no model 'erc20' in MODELS" in ran.err


class Planned:
    """A stored chain, of which one block was read and decoded, and is about to be written."""

    def __init__(self, settings: Settings, chain: ChainFile, folder: Path) -> None:
        wrong = Decoding(load_models([model(folder, WRONG, 1)]), frozenset())
        right = Decoding(load_models([model(folder, RIGHT, 2)]), frozenset())
        index(settings, chain, wrong)
        with engine.connect(settings, "test", autocommit=True) as connection:
            made = [redecode(block, right)[1] for block in load_blocks(connection, CHAIN_ID, 0, HEAD)]
        self.block: Redecoded = next(each for each in made if each is not None and each.rewrite)
        self.version = right.models.version

    def write(self, connection: Connection) -> set[int]:
        partition = partition_of(self.block.number, PARTITIONS)
        return redecoding.write(connection, CHAIN_ID, OWNER, partition, self.version, [self.block])

    def replace_block(self, persister: Connection) -> None:
        """Do to the block what a persister does that stores another fork's: no logs, no derived rows."""
        persister.execute(
            "INSERT INTO consumer_progress AS p (consumer_group, topic, partition, topic_id, epoch, next_offset)"
            " VALUES (%s, %s, %s, 'id', 1, 7) ON CONFLICT (consumer_group, topic, partition)"
            " DO UPDATE SET next_offset = 7",
            (OWNER.group, OWNER.topic, partition_of(self.block.number, PARTITIONS)),
        )
        for table in ("token_transfers", "decoded_events", "transaction_processing"):
            persister.execute(f"DELETE FROM {table} WHERE block_number = {self.block.number}".encode())
        persister.execute("UPDATE blocks SET hash = sha256(hash) WHERE number = %s", (self.block.number,))

    def events(self, connection: Connection) -> int:
        row = connection.execute(
            "SELECT count(*) FROM decoded_events WHERE block_number = %s", (self.block.number,)
        ).fetchone()
        assert row is not None
        return int(row[0])


def test_a_block_that_was_replaced_since_it_was_read_is_left_alone(
    migrated: Settings, chain: ChainFile, tmp_path: Path
) -> None:
    planned = Planned(migrated, chain, tmp_path)
    with engine.connect(migrated, "test", autocommit=True) as connection:
        planned.replace_block(connection)

        assert planned.write(connection) == {planned.block.number}
        assert planned.events(connection) == 0


def test_a_persister_that_is_writing_the_partition_is_waited_for(
    migrated: Settings, chain: ChainFile, tmp_path: Path
) -> None:
    planned = Planned(migrated, chain, tmp_path)
    left: list[set[int]] = []
    with engine.connect(migrated, "test") as persister, engine.connect(migrated, "test", autocommit=True) as us:
        planned.replace_block(persister)
        ours = threading.Thread(target=lambda: left.append(planned.write(us)))
        ours.start()
        with engine.connect(migrated, "test", autocommit=True) as look:
            wait_for(lambda: waits(look, us.info.backend_pid), 10, "the writer waits for the persister")

        persister.commit()
        ours.join(10)

        assert left == [{planned.block.number}]
        assert planned.events(us) == 0


def waits(look: Connection, pid: int) -> bool:
    row = look.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone()
    return row is not None and bool(row[0])
