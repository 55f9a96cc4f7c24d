"""Blocks of a simulated chain, decoded as a decoder does and stored as a persister does, with no Kafka between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from devchain.chainfile import ChainFile
from devchain.endpoint import read
from indexer import native
from indexer.abi.standards import token_transfers
from indexer.abi.wrapped import wrapped_native
from indexer.chain.parse import parse_block
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.checksum import sealed
from indexer.codec import encode_block
from indexer.inflight import Record, TopicPartition
from indexer.records import DecodedBlock
from indexer.settings import Settings
from indexer.storage import engine
from indexer.topics import partition_of
from services.persister.connections import PartitionKeeper
from services.persister.handler import BlockHandler
from services.persister.packed import PackedBlock
from services.persister.store import BlockWriter, Destination

TOPIC, PARTITIONS = "blocks.decoded", 12


def decoded(chain: ChainFile, number: int) -> DecodedBlock:
    """The block at a height, proven and with its token transfers."""
    rules = rules_for(chain.chain_id)
    columns = parse_block(_json(chain.block(number)), _json(chain.receipts(number)), rules)
    transfers = token_transfers(columns[2], wrapped_native(chain.chain_id))
    return DecodedBlock(chain.chain_id, *columns, transfers, proofs=verify(*columns, rules, "senders"))


def store(settings: Settings, blocks: Iterable[DecodedBlock]) -> None:
    """Store blocks by way of the record that they are in Kafka, in one transaction."""
    compiled = native.load(settings.native)
    handler = BlockHandler(settings.chain_id, PARTITIONS, native=compiled)
    handler.submit([_record(block) for block in blocks])
    handled = handler.completed(0)
    assert all(isinstance(each.result.value, PackedBlock) for each in handled)
    to = Destination(settings.chain_id, "persister", PARTITIONS, "blocks.dlq", lambda topic: "")
    writer = BlockWriter(to, PartitionKeeper(settings), native=compiled)
    writer.prepare(handled)
    with engine.connect(settings, "test") as connection:
        writer.write(connection, handled)


def _record(block: DecodedBlock) -> Record:
    number = block.header.number
    source = TopicPartition(TOPIC, partition_of(number, PARTITIONS))
    value = encode_block(block)
    return Record(*source, number, None, value, sealed((), value))


def _json(answer: Any) -> Any:
    assert answer is not None
    return orjson.loads(read(answer))
