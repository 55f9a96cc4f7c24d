"""Recorded logs: our decoding against that of ethers v6 and of ethereum-etl."""

from __future__ import annotations

from typing import Any

from indexer.abi.compile import EventDecoder, compile_event
from indexer.abi.signatures import parse_signature
from indexer.abi.standards import token_transfers
from indexer.records import Logs, TokenTransfers
from tests.unit.abi.abi_builders import ethers_events, etl_transfers, recorded_logs, unhex

EVENTS = {
    ("erc20", "Transfer"): "Transfer(address indexed from, address indexed to, uint256 value)",
    ("erc20", "Approval"): "Approval(address indexed owner, address indexed spender, uint256 value)",
    ("erc721", "Transfer"): "Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
    ("erc721", "Approval"): "Approval(address indexed owner, address indexed approved, uint256 indexed tokenId)",
    ("erc721/1155", "ApprovalForAll"): "ApprovalForAll(address indexed owner, address indexed operator, bool approved)",
    ("erc1155", "TransferSingle"): "TransferSingle(address indexed operator, address indexed from,"
    " address indexed to, uint256 id, uint256 value)",
    ("erc1155", "TransferBatch"): "TransferBatch(address indexed operator, address indexed from,"
    " address indexed to, uint256[] ids, uint256[] values)",
    ("erc1155", "URI"): "URI(string value, uint256 indexed id)",
    ("weth", "Deposit"): "Deposit(address indexed dst, uint256 wad)",
    ("weth", "Withdrawal"): "Withdrawal(address indexed src, uint256 wad)",
}
NOBODY = "0x" + "00" * 20

Transfer = tuple[int, int, str, str, str, str, str, int, int]


def transfers_of(logs: Logs, wrapped: frozenset[bytes]) -> list[Transfer]:
    found = token_transfers(logs, wrapped)
    columns = [getattr(found, name) for name in TokenTransfers.__slots__]
    return [
        tuple("0x" + cell.hex() if isinstance(cell, bytes) else cell for cell in row)  # type: ignore[misc]
        for row in zip(*columns, strict=True)
    ]


def expected_transfers(event: dict[str, Any]) -> list[Transfer]:
    """The rows that an event decoded by ethers stands for."""
    args, start = event["args"], (event["log_index"], 0, event["address"])
    match event["standard"], event["event"]:
        case "erc20", "Transfer":
            row = (args["from"].lower(), args["to"].lower(), 0, int(args["value"]))
            return [(*start, "erc20", "transfer", *row)]
        case "erc721", "Transfer":
            row = (args["from"].lower(), args["to"].lower(), int(args["tokenId"]), 1)
            return [(*start, "erc721", "transfer", *row)]
        case "erc1155", "TransferSingle":
            row = (args["from"].lower(), args["to"].lower(), int(args["id"]), int(args["value"]))
            return [(*start, "erc1155", "transfer", *row)]
        case "erc1155", "TransferBatch":
            pair = (args["from"].lower(), args["to"].lower())
            batch = enumerate(zip(args["ids"], args["values"], strict=True))
            return [(start[0], n, start[2], "erc1155", "transfer", *pair, int(i), int(v)) for n, (i, v) in batch]
        case "weth", "Deposit":
            return [(*start, "erc20", "deposit", NOBODY, args["dst"].lower(), 0, int(args["wad"]))]
        case "weth", "Withdrawal":
            return [(*start, "erc20", "withdrawal", args["src"].lower(), NOBODY, 0, int(args["wad"]))]
    return []


def test_transfers_are_those_that_ethers_decodes() -> None:
    expected = ethers_events()
    wrapped = frozenset(unhex(event["address"]) for event in expected.values() if event["standard"] == "weth")

    assert expected.keys() <= recorded_logs().keys()
    for key, log in recorded_logs().items():
        event = expected.get(key)
        assert transfers_of(log, wrapped) == (expected_transfers(event) if event else []), key


def test_events_decode_to_the_arguments_that_ethers_gives() -> None:
    decoders = {kind: compile_event(parse_signature(signature)) for kind, signature in EVENTS.items()}
    logs, seen = recorded_logs(), set()

    for key, event in ethers_events().items():
        kind = (event["standard"], event["event"])
        if event["event"] is not None:
            assert decoded(decoders[kind], logs[key]) == plain(event["args"]), key
            seen.add(kind)

    assert seen == set(EVENTS)


def decoded(decoder: EventDecoder, log: Logs) -> object:
    topics = [column[0] for column in (log.topic0, log.topic1, log.topic2, log.topic3)]
    return plain(decoder.decode([topic for topic in topics if topic is not None], log.data[0]))


def plain(value: Any) -> object:
    """Addresses in lower case, numbers as text: how both can be compared."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bool):
        return value
    return str(value).lower()


def test_transfers_are_those_of_ethereum_etl_but_for_transfers_with_one_topic() -> None:
    """ethereum-etl has `value` for amount or token id, no ERC-1155 and no WETH; it reads one-topic Transfers."""
    blocks = {(chain, event["transaction_hash"], i): h for (chain, h, i), event in ethers_events().items()}
    theirs, refused = set(), []
    for row in etl_transfers():
        place = (row["chain_id"], row["transaction_hash"], row["log_index"])
        key = (row["chain_id"], blocks[place], row["log_index"])
        if ethers_events()[key]["event"] is None:
            refused.append(len([t for t in (recorded_logs()[key].topic1[0],) if t is not None]))
        else:
            theirs.add((*key, row["token_address"], row["from_address"], row["to_address"], int(row["value"])))

    ours = {
        (*key, row[2], row[5], row[6], row[8] if row[3] == "erc20" else row[7])
        for key, log in recorded_logs().items()
        for row in transfers_of(log, frozenset())
        if row[3] in {"erc20", "erc721"}
    }

    assert ours == theirs
    assert refused
    assert set(refused) == {0}
