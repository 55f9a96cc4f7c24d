"""The ledger of a real node's chain: what is stored is what the contracts say, for every holder of every token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from web3.contract import Contract

from indexer.settings import Settings
from indexer.storage import engine
from tests.support.anvil import Anvil
from tests.support.command_line import Ran, ran_apart
from tests.support.deployment import own_database, own_topics
from tests.support.tokens import IDS, TokenChain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]  # the first test may install Anvil

CHAIN_ID = 31337
SEED = 20_260_101

Holding = tuple[str, int, str]  # token, id of an ERC-1155 token or 0, holder
MODEL = """
name = "wrapped"
contracts = ["{address}"]
wrapped_native = true
abi = ["event Deposit(address indexed dst, uint256 wad)", "event Withdrawal(address indexed src, uint256 wad)"]
"""


@dataclass(frozen=True)
class Indexed:
    """Where a chain was stored, and what `batch process` said of it."""

    settings: Settings
    processed: Ran
    folder: Path


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenChain]:
    """Four contracts and some hundreds of transactions; a run is repeated by its seed."""
    with Anvil(tmp_path_factory.mktemp("anvil"), CHAIN_ID) as anvil:
        tokens = TokenChain(anvil.url, SEED)
        tokens.start()
        tokens.live(blocks=40, actions=10)
        yield tokens


@pytest.fixture(scope="module")
def indexed(
    chain: TokenChain, postgres: str, kafka: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Indexed]:
    """The whole chain, from its genesis on."""
    folder = tmp_path_factory.mktemp("indexed")
    with own_database(postgres, migrated_template) as migrated, own_topics(migrated, kafka) as deployment:
        yield Indexed(*index(chain, deployment, folder, first=0), folder)


def index(chain: TokenChain, deployment: Settings, folder: Path, first: int) -> tuple[Settings, Ran]:
    """Have the blocks from `first` on stored by producer, decoder and persister."""
    (folder / "wrapped.toml").write_text(MODEL.format(address=chain.weth.address))
    settings = replace(
        deployment,
        chain_id=CHAIN_ID,
        rpc_urls=(chain.url,),
        models=("wrapped.toml",),
        verify="senders",
        confirmations=0,  # Anvil calls nothing final
    )
    queued = ran_apart(settings, folder, "batch", "queue", "range", first, chain.head)
    assert queued.code == 0, queued.err
    return settings, ran_apart(settings, folder, "batch", "process", "--workers", 1, "--json")


def ledger(settings: Settings) -> dict[Holding, int]:
    """The table `balances`, without zeros; ERC-721 tokens are added up, as their contract counts them."""
    found: defaultdict[Holding, int] = defaultdict(int)
    with engine.connect(settings, "test") as connection:
        rows = connection.execute(
            """
            SELECT b.token_address, CASE t.standard WHEN 'erc1155' THEN b.token_id ELSE 0 END, b.holder, b.balance
            FROM balances b JOIN (SELECT DISTINCT token_address, standard FROM token_transfers) t USING (token_address)
            """
        ).fetchall()
    for token, token_id, holder, balance in rows:
        found["0x" + token.hex(), int(token_id), "0x" + holder.hex()] += int(balance)
    return {holding: balance for holding, balance in found.items() if balance}


def on_chain(chain: TokenChain, height: int) -> dict[Holding, int]:
    """What the contracts say at a height about everybody who may hold something, without zeros."""
    found: dict[Holding, int] = {}
    for contract in (chain.erc20, chain.erc721, chain.weth):
        for holder in chain.holders():
            found[_key(contract, 0, holder)] = contract.functions.balanceOf(holder).call(block_identifier=height)
    asked = [(holder, token_id) for holder in chain.holders() for token_id in IDS]
    holders, ids = zip(*asked, strict=True)
    answers = chain.erc1155.functions.balanceOfBatch(holders, ids).call(block_identifier=height)
    for (holder, token_id), balance in zip(asked, answers, strict=True):
        found[_key(chain.erc1155, token_id, holder)] = balance
    return {holding: balance for holding, balance in found.items() if balance}


def _key(contract: Contract, token_id: int, holder: str) -> Holding:
    return contract.address.lower(), token_id, holder.lower()


def test_the_ledger_is_what_the_contracts_say(chain: TokenChain, indexed: Indexed) -> None:
    assert indexed.processed.code == 0, indexed.processed.err

    assert indexed.processed.json()["stored"] == chain.head + 1
    assert ledger(indexed.settings) == on_chain(chain, chain.head)


def test_verify_finds_nothing_wrong(chain: TokenChain, indexed: Indexed) -> None:
    verified = ran_apart(indexed.settings, indexed.folder, "verify", "--sample", 1000, "--json")

    assert verified.code == 0, verified.out
    checks = {check["check"]: check for check in verified.json()["checks"]}
    assert checks["roots"]["looked_at"] == chain.head + 1
    assert checks["ledger"]["looked_at"] >= len(on_chain(chain, chain.head))
    assert {check["skipped"] for check in checks.values()} == {0}


def test_each_card_is_held_by_its_owner(chain: TokenChain, indexed: Indexed) -> None:
    with engine.connect(indexed.settings, "test") as connection:
        rows = connection.execute(
            "SELECT token_id, holder, balance FROM balances WHERE token_address = %s AND balance <> 0",
            (bytes.fromhex(chain.erc721.address[2:]),),
        ).fetchall()

    owners = {int(token_id): "0x" + holder.hex() for token_id, holder, _ in rows}
    assert {balance for _, _, balance in rows} == {1}
    assert len(owners) == len(rows) == chain.erc721.functions.totalSupply().call()
    for token_id, owner in owners.items():
        assert chain.erc721.functions.ownerOf(token_id).call().lower() == owner


def test_the_chain_has_all_that_it_is_meant_to_test(chain: TokenChain, indexed: Indexed) -> None:
    with engine.connect(indexed.settings, "test") as connection:
        kinds = connection.execute(
            r"""
            SELECT DISTINCT standard, kind, CASE '\x0000000000000000000000000000000000000000'::bytea
                WHEN from_address THEN 'mint' WHEN to_address THEN 'burn' ELSE 'move' END FROM token_transfers
            """
        ).fetchall()
        batches = connection.execute("SELECT max(batch_index) FROM token_transfers").fetchone()
        statuses = connection.execute("SELECT receipt_status FROM transactions").fetchall()

    assert set(kinds) == {
        *(
            (standard, "transfer", how)
            for standard in ("erc20", "erc721", "erc1155")
            for how in ("mint", "burn", "move")
        ),
        ("erc20", "deposit", "mint"),
        ("erc20", "withdrawal", "burn"),
    }
    assert batches is not None
    assert batches[0] >= 4
    assert sorted(status for (status,) in statuses) == sorted(chain.statuses)
    assert chain.statuses.count(0) > 20


def test_a_history_that_begins_late_is_what_was_gained_since(
    chain: TokenChain, deployment: Settings, tmp_path: Path
) -> None:
    first = chain.head - 20
    settings, processed = index(chain, deployment, tmp_path, first)
    verified = ran_apart(settings, tmp_path, "verify", "--sample", 1000, "--json")

    before, after = on_chain(chain, first - 1), on_chain(chain, chain.head)
    gained = {holding: after.get(holding, 0) - before.get(holding, 0) for holding in before.keys() | after.keys()}

    assert processed.json()["stored"] == 21
    assert ledger(settings) == {holding: change for holding, change in gained.items() if change}
    assert min(gained.values()) < 0 < max(gained.values())
    assert (verified.code, verified.json()["from"]) == (0, first), verified.out
    assert {check["check"]: check["skipped"] for check in verified.json()["checks"]}["ledger"] == 0
