"""Blocks that real chains produced, through the whole pipeline: what is stored is what other tools read from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg.rows import dict_row

from devchain.client import Devchain
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.records import Proof
from indexer.settings import Settings
from indexer.storage import engine
from indexer.storage.jobs import Connection
from indexer.storage.stored import load_block
from indexer.verification.checks import transfers_in_balances
from tests.support.command_line import Ran, ran_apart
from tests.support.deployment import own_database, own_topics
from tests.support.recorded import RecordedChain, Row, recorded_chain, tampered_chain

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]  # the first test waits for the stack and its chain

CHAINS = {
    "Ethereum": 1,
    "OP": 10,
    "Polygon": 137,
    "Camino": 501,
    "HyperEVM": 999,
    "Base": 8453,
    "Arbitrum": 42161,
    "Avalanche": 43114,
}
NOBODY = "0x" + "00" * 20

# Every token event that ethers was asked for, of any contract: its decoding is compared with `decoded_events`.
MODEL = """
name = "tokens"
contracts = "*"
wrapped_native = [{wrapped}]
abi = [
    "event Transfer(address indexed from, address indexed to, uint256 value)",
    "event Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
    "event Approval(address indexed owner, address indexed spender, uint256 value)",
    "event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId)",
    "event ApprovalForAll(address indexed owner, address indexed operator, bool approved)",
    "event TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value)",
    "event TransferBatch(address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values)",
    "event URI(string value, uint256 indexed id)",
    "event Deposit(address indexed dst, uint256 wad)",
    "event Withdrawal(address indexed src, uint256 wad)",
]
"""  # noqa: E501


@dataclass(frozen=True)
class Indexed:
    """A chain whose recorded blocks went through the pipeline."""

    settings: Settings
    recorded: RecordedChain
    connection: Connection
    queued: Ran
    processed: Ran

    def rows(self, table: str, order: str) -> list[Row]:
        """A table's rows, readable: bytes as 0x…, amounts as integers."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY {order}".encode())
            return [{name: shown(value) for name, value in row.items()} for row in cursor]


def shown(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return int(value) if isinstance(value, Decimal) else value


@dataclass(frozen=True)
class Runs:
    """Chains on their way through pipelines of their own, a few at a time: most of a short run is waiting."""

    postgres: str
    kafka: str
    template: str
    folder: Path
    stack: ExitStack
    futures: dict[int, Future[Indexed]] = field(default_factory=dict)

    def index(self, recorded: RecordedChain) -> Indexed:
        """Queue the chain's blocks, and run producer, decoder and persister until they are done."""
        folder = self.folder / str(recorded.chain_id)
        folder.mkdir()
        (folder / "manifest").write_text(recorded.manifest)
        (folder / "tokens.toml").write_text(model(recorded))
        migrated = self.stack.enter_context(own_database(self.postgres, self.template))
        with (
            own_topics(migrated, self.kafka) as deployed,
            Devchain.recorded(recorded.files, chain_id=recorded.chain_id) as node,
        ):
            settings = replace(
                deployed,
                chain_id=recorded.chain_id,
                rpc_urls=(node.url,),
                models=("tokens.toml",),
                verify="senders",
                partition_blocks=10_000_000,
            )
            queued = ran_apart(settings, folder, "batch", "queue", "manifest", "manifest", "--json")
            assert queued.code == 0, queued.err
            processed = ran_apart(settings, folder, "batch", "process", "--workers", 1, "--json", seconds=100)
        connection = self.stack.enter_context(engine.connect(settings, "test", autocommit=True))
        connection.execute("ANALYZE")  # autovacuum does it within a minute
        return Indexed(settings, recorded, connection, queued, processed)


def model(recorded: RecordedChain) -> str:
    wrapped = sorted({row["address"] for row in recorded.ethers() if row["standard"] == "weth"})
    return MODEL.format(wrapped=", ".join(f'"{each}"' for each in wrapped))


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, postgres: str, kafka: str, migrated_template: str, tmp_path_factory: Any
) -> Iterator[Runs]:
    """The runs of all chains that the selected tests look at."""
    chosen = {item.callspec.params.get("chain"): None for item in request.session.items if hasattr(item, "callspec")}
    recorded = [recorded_chain(each) for each in chosen if each in CHAINS.values()]
    recorded += [tampered_chain(each) for each in chosen if each in NEGATIVE]
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(3))
        stack.callback(pool.shutdown, cancel_futures=True)
        found = Runs(postgres, kafka, migrated_template, tmp_path_factory.mktemp("chains"), stack)
        found.futures.update({each.chain_id: pool.submit(found.index, each) for each in recorded})
        yield found


def named(chain_id: int) -> str:
    return next(name for name, number in CHAINS.items() if number == chain_id)


@pytest.fixture(scope="module", params=CHAINS.values(), ids=named)
def chain(request: pytest.FixtureRequest, runs: Runs) -> Indexed:
    return runs.futures[request.param].result()


def test_the_job_ends_with_every_block_stored(chain: Indexed) -> None:
    assert chain.processed.code == 0, chain.processed.err

    report = chain.processed.json()

    assert (report["stored"], report["dead"], report["dead_letters"]) == (len(chain.recorded.blocks), 0, {})
    assert report["restarts"] == {}
    assert [(job["id"], job["state"]) for job in report["jobs"]] == [(chain.queued.json()["job"], "done")]
    assert [row["number"] for row in chain.rows("blocks", "number")] == sorted(chain.recorded.blocks)
    assert chain.rows("dead_letters", "id") == []


def differences(ours: dict[Any, Row], theirs: dict[Any, Row]) -> list[str]:
    """What differs in the columns that their rows have, in words."""
    found = [f"{key}: only ours" for key in ours.keys() - theirs.keys()]
    found += [f"{key}: only theirs" for key in theirs.keys() - ours.keys()]
    for key in ours.keys() & theirs.keys():
        for name, value in theirs[key].items():
            if ours[key].get(name, "no such column") != value:
                found.append(f"{key} {name}: ours {str(ours[key].get(name))[:80]}, theirs {str(value)[:80]}")
    return sorted(found)


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def test_blocks_are_those_of_ethereum_etl(chain: Indexed) -> None:
    ours = {row["number"]: row for row in chain.rows("blocks", "number")}
    theirs = {
        # withdrawals are in withdrawals_root only; a block rebuilt from other sources lacks its size: we store 0
        row["number"]: without(row, "type", "withdrawals") | {"size": row["size"] or 0}
        for row in chain.recorded.etl("blocks")
    }

    assert differences(ours, theirs) == []
    assert theirs


def test_transactions_are_those_of_ethereum_etl(chain: Indexed) -> None:
    ours = {
        (row["block_number"], row["transaction_index"]): row
        | {"block_timestamp": int(row["block_timestamp"].timestamp())}
        | {"blob_versioned_hashes": (row["extra"] or {}).get("blobVersionedHashes", [])}
        for row in joined(chain, "transactions", "transaction_index")
    }
    theirs = {
        (row["block_number"], row["transaction_index"]): without(row, "type", "max_fee_per_blob_gas")
        # what has no type or, as the deposits of the OP stack, no nonce in an answer: we store 0
        | {"transaction_type": row["transaction_type"] or 0, "nonce": row["nonce"] or 0}
        for row in chain.recorded.etl("transactions")
    }

    assert differences(ours, theirs) == []
    assert theirs


def test_receipts_are_those_of_ethereum_etl(chain: Indexed) -> None:
    same = ("block_number", "block_hash", "chain_id", "transaction_index")
    own = ("cumulative_gas_used", "gas_used", "contract_address", "root", "status", "effective_gas_price")
    fees = {"l1_fee": "l1Fee", "l1_gas_price": "l1GasPrice", "l1_gas_used": "l1GasUsed", "blob_gas_used": "blobGasUsed"}
    ours, theirs = {}, {}
    for row in joined(chain, "transactions", "transaction_index"):
        extra = row["receipt_extra"] or {}
        ours[row["block_number"], row["transaction_index"]] = {
            **{name: row[name] for name in same},
            **{name: row[f"receipt_{name}"] for name in own},
            **{name: int(extra[key], 16) if extra.get(key) else None for name, key in fees.items()},
            "transaction_hash": row["hash"],
        }
    for row in chain.recorded.etl("receipts"):
        # what it could not tell: OP's fee scalar is a decimal fraction; its blob_gas_price is always null
        theirs[row["block_number"], row["transaction_index"]] = without(row, "type", "l1_fee_scalar", "blob_gas_price")

    assert differences(ours, theirs) == []
    assert theirs


def test_logs_are_those_of_ethereum_etl(chain: Indexed) -> None:
    ours = {
        (row["block_number"], row["log_index"]): row
        | {"topics": [row[f"topic{i}"] for i in range(4) if row[f"topic{i}"] is not None]}
        for row in joined(chain, "logs", "log_index")
    }
    theirs = {(row["block_number"], row["log_index"]): without(row, "type") for row in chain.recorded.etl("logs")}

    assert differences(ours, theirs) == []
    assert len(theirs) == sum(
        len(each["logs"]) for block in chain.recorded.blocks.values() for each in block["receipts"]
    )


def joined(chain: Indexed, table: str, index: str) -> list[Row]:
    """A table's rows with the columns that the view of ethereum-etl's name adds."""
    order = f"block_number, {index}"
    views = chain.rows(f"ethereum_etl.{table}", order)
    return [view | row for view, row in zip(views, chain.rows(table, order), strict=True)]


def test_transfers_are_those_of_ethereum_etl_where_ethers_reads_them(chain: Indexed) -> None:
    """ethereum-etl has neither ERC-1155 nor WETH; it reads Transfers with one topic, which ethers refuses."""
    refused = {(row["block_number"], row["log_index"]) for row in chain.recorded.ethers() if row["event"] is None}
    ours = {
        (row["block_number"], row["log_index"]): row
        for row in chain.rows("ethereum_etl.token_transfers", "block_number, log_index")
    }
    theirs = {
        (row["block_number"], row["log_index"]): without(row, "type") for row in chain.recorded.etl("token_transfers")
    }

    assert differences(ours, {key: row for key, row in theirs.items() if key not in refused}) == []
    assert len(theirs.keys() & refused) == (1 if chain.recorded.chain_id == 1 else 0)


def test_transfers_are_those_that_ethers_decodes(chain: Indexed) -> None:
    ours = {
        (row["block_number"], row["log_index"], row["batch_index"]): without(row, "chain_id")
        for row in chain.rows("token_transfers", "block_number, log_index, batch_index")
    }
    theirs = {
        (row["block_number"], row["log_index"], row["batch_index"]): row
        for event in chain.recorded.ethers()
        for row in transfers_of(event)
    }

    assert differences(ours, theirs) == []


def transfers_of(event: Row) -> Iterator[Row]:
    """The rows that an event decoded by ethers stands for."""
    args = event["args"]
    match event["standard"], event["event"]:
        case "erc20", "Transfer":
            moved = [("erc20", "transfer", args["from"], args["to"], 0, args["value"])]
        case "erc721", "Transfer":
            moved = [("erc721", "transfer", args["from"], args["to"], args["tokenId"], 1)]
        case "erc1155", "TransferSingle":
            moved = [("erc1155", "transfer", args["from"], args["to"], args["id"], args["value"])]
        case "erc1155", "TransferBatch":
            batch = zip(args["ids"], args["values"], strict=True)
            moved = [("erc1155", "transfer", args["from"], args["to"], token, value) for token, value in batch]
        case "weth", "Deposit":
            moved = [("erc20", "deposit", NOBODY, args["dst"], 0, args["wad"])]
        case "weth", "Withdrawal":
            moved = [("erc20", "withdrawal", args["src"], NOBODY, 0, args["wad"])]
        case _:
            moved = []
    for batch_index, (standard, kind, sender, receiver, token_id, amount) in enumerate(moved):
        yield {
            **{"block_number": event["block_number"], "log_index": event["log_index"], "batch_index": batch_index},
            **{"token_address": event["address"], "standard": standard, "kind": kind},
            **{"from_address": sender.lower(), "to_address": receiver.lower()},
            **{"token_id": int(token_id), "amount": int(amount)},
        }


def test_events_are_decoded_as_ethers_decodes_them(chain: Indexed) -> None:
    ours = {
        (row["block_number"], row["log_index"]): row for row in chain.rows("decoded_events", "block_number, log_index")
    }
    theirs = {
        (row["block_number"], row["log_index"]): {"model": "tokens", "event": row["event"], "args": plain(row["args"])}
        for row in chain.recorded.ethers()
        if row["event"] is not None
    }

    assert differences(ours, theirs) == []


def plain(value: Any) -> Any:
    """Arguments as `decoded_events` has them: addresses in lower case, the rest as it is."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.lower() if isinstance(value, str) and value.startswith("0x") else value


def test_logs_that_no_event_fits_are_counted_and_their_transactions_noted(chain: Indexed) -> None:
    refused = [(row["block_number"], row["log_index"]) for row in chain.recorded.ethers() if row["event"] is None]

    noted = [
        (row["block_number"], log_index)
        for row in chain.rows("transaction_processing", "block_number, transaction_index")
        for log_index in row["log_indexes"]
    ]

    assert noted == sorted(refused)
    assert {
        row["number"]: row["undecoded_logs"] for row in chain.rows("blocks", "number") if row["undecoded_logs"]
    } == (Counter(number for number, _ in refused))


GOLD = (
    Proof.CONSISTENT | Proof.HEADER_HASH | Proof.TRANSACTION_HASHES | Proof.TRANSACTIONS_ROOT | Proof.RECEIPTS_ROOT
    | Proof.LOGS_BLOOM | Proof.GAS_USED | Proof.CONTRACT_ADDRESSES | Proof.SENDERS
)  # fmt: skip


def test_every_block_is_proven_as_its_grade_claims(chain: Indexed) -> None:
    proofs = {row["number"]: Proof(row["proofs"]) for row in chain.rows("blocks", "number")}

    assert {block["grade"] for block in chain.recorded.blocks.values()} == {"gold"}
    assert [number for number in proofs if proofs[number] & GOLD != GOLD] == []
    priced = chain.recorded.chain_id != 42161  # Arbitrum's rule for the effective gas price is not known
    assert all((Proof.EFFECTIVE_GAS_PRICE in proof) is priced for proof in proofs.values())


def test_the_stored_rows_alone_prove_their_block_again(chain: Indexed) -> None:
    for number, recorded in chain.recorded.blocks.items():
        stored = load_block(chain.connection, chain.recorded.chain_id, number)

        assert stored is not None
        genuine = bytes.fromhex(recorded["block"]["hash"][2:])
        assert verify(*stored, rules_for(chain.recorded.chain_id), "senders", genuine) & GOLD == GOLD


def test_the_ledger_is_the_sum_of_the_transfers(chain: Indexed) -> None:
    assert transfers_in_balances(chain.connection, chain.recorded.chain_id).problems == []


# what only one chain has


@pytest.mark.parametrize("chain", [CHAINS["Polygon"]], ids=named, indirect=True)
def test_polygons_state_sync_transaction_is_stored_with_its_logs(chain: Indexed) -> None:
    state_sync = [
        row
        for row in chain.rows("transactions", "block_number, transaction_index")
        if row["from_address"] == row["to_address"] == NOBODY
    ]

    numbers = {row["block_number"] for row in state_sync}
    assert 10_000_000 in numbers
    assert all(row["receipt_gas_used"] == 0 for row in state_sync)
    assert numbers & {row["block_number"] for row in chain.rows("logs", "block_number")} == numbers


# what must be refused

NEGATIVE = {80001: "LOG_INDEX_GAP", 25: "RECEIPT_COUNT_MISMATCH"}


@pytest.mark.parametrize("chain", NEGATIVE, ids=["Mumbai", "Cronos"], indirect=True)
def test_a_tampered_block_becomes_a_dead_letter_and_the_job_ends(chain: Indexed, tmp_path: Path) -> None:
    code = NEGATIVE[chain.recorded.chain_id]
    (number,) = chain.recorded.blocks

    report = chain.processed.json()
    listed = ran_apart(chain.settings, tmp_path, "dlq", "list", "--each", "--json").json()

    assert chain.processed.code == 1, chain.processed.err
    assert (report["stored"], report["dead"], report["dead_letters"]) == (0, 1, {code: 1})
    assert [(job["id"], job["state"]) for job in report["jobs"]] == [(chain.queued.json()["job"], "done")]
    assert [(each["block_number"], each["code"], each["service"]) for each in listed] == [(number, code, "decoder")]
    assert (listed[0]["job_id"], listed[0]["attempts"]) == (chain.queued.json()["job"], 1)
    assert listed[0]["stage"] in ("parse", "verify")
    for table in ("blocks", "transactions", "logs", "token_transfers", "decoded_events", "balances"):
        assert chain.rows(table, "1") == [], table
