"""The chain that a node has at last, indexed anew in this process, and its balances added up by other code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from devchain.client import Devchain
from devchain.params import ChainParams
from devchain.universe import WETH, Universe
from indexer import codec
from indexer.abi.models import load_models
from indexer.chain.rules import rules_for
from indexer.inflight import Record
from indexer.outputs import Output
from indexer.records import BlockWorkItem, DecodedBlock, Reason
from indexer.rpc.fetch import Fetched
from indexer.settings import Settings
from indexer.storage.jobs import Connection
from indexer.topics import load_topics
from services.decoder.handler import Decoder
from tests.support.ledger_oracle import positions
from tests.support.storing import PARTITIONS, store

Answers = tuple[dict[str, Any], list[dict[str, Any]]]  # a block and its receipts
Balances = dict[tuple[str, str, int], int]  # token, holder, id → what is not zero

SIGNATURES = {
    "pools": "event Swap(address indexed, uint256, uint256, uint256, uint256, address indexed)",
    "wrong": "event Sync(uint112 indexed, uint112)",  # its logs have no such topic: they fit nothing
}


def model_files(folder: Path, chain_id: int) -> tuple[str, ...]:
    """Write models for a simulated chain: one that fits, one that does not, and its wrapped native coin."""
    wrapped = Universe(ChainParams(chain_id=chain_id)).tokens[WETH].hex()
    texts = {name: f'contracts = "*"\nabi = ["{signature}"]\n' for name, signature in SIGNATURES.items()}
    texts["coin"] = f'contracts = ["0x{wrapped}"]\nwrapped_native = true\nabi = ["event Nothing(uint256)"]\n'
    paths = [folder / f"{name}.toml" for name in texts]
    for path, (name, text) in zip(paths, texts.items(), strict=True):
        path.write_text(f'name = "{name}"\n{text}')
    return tuple(map(str, paths))


def answers(node: Devchain) -> list[Answers]:
    """All that the node says of its chain."""
    head = int(node.call("eth_blockNumber"), 16)
    blocks = [node.call("eth_getBlockByNumber", hex(number), True) for number in range(head + 1)]
    return [(block, node.call("eth_getBlockReceipts", block["hash"])) for block in blocks]


def index(settings: Settings, chain: Sequence[Answers]) -> None:
    """Prove, decode and store the blocks, and no others."""
    store(settings, _decoded(settings, chain))


def _decoded(settings: Settings, chain: Sequence[Answers]) -> Iterator[DecodedBlock]:
    models = load_models(settings.models)
    topics = load_topics(settings.topic_prefix, PARTITIONS)
    decoder = Decoder(rules_for(settings.chain_id), models, frozenset(), "full", topics, PARTITIONS)
    for number, (block, receipts) in enumerate(chain):
        item = BlockWorkItem(settings.chain_id, number, 0, bytes.fromhex(block["hash"][2:]), None, Reason.BACKFILL)
        task = decoder.read(Record(topics.name("blocks.work.normal"), 0, 0, b"", codec.encode_work_item(item)))
        output = decoder.decode(task, Fetched(number, block, receipts, "node", 0), lambda stage: None)
        assert isinstance(output, Output)
        found = codec.decode_record(output.value or b"")
        assert isinstance(found, DecodedBlock)
        yield found


def recomputed(chain: Sequence[Answers]) -> Balances:
    """The balances that the chain's logs come to."""
    found = positions(log for _, receipts in chain for receipt in receipts for log in receipt["logs"])
    return {key: amount for key, amount in found.items() if amount}


def recorded(connection: Connection) -> Balances:
    """The balances that are stored."""
    rows = connection.execute("SELECT token_address, holder, token_id, balance FROM balances WHERE balance <> 0")
    return {(f"0x{token.hex()}", f"0x{holder.hex()}", int(i)): int(amount) for token, holder, i, amount in rows}
