"""Rows put into the tables directly, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable

from indexer.storage.jobs import Connection
from indexer.storage.partitions import ensure_partitions


def insert_blocks(connection: Connection, numbers: Iterable[int], chain_id: int = 43114) -> None:
    """Insert empty blocks, each linked to the one before it."""
    wanted = list(numbers)
    ensure_partitions(connection, wanted, 100_000)
    for number in wanted:
        connection.execute(
            """
            INSERT INTO blocks (chain_id, number, hash, parent_hash, sha3_uncles, logs_bloom, transactions_root,
                state_root, receipts_root, miner, difficulty, size, extra_data, gas_limit, gas_used, timestamp,
                transaction_count, log_count, proofs, undecoded_logs, generation, model_version)
            VALUES (%(chain)s, %(n)s, %(hash)s, %(parent)s, '', '', '', '', '', '',
                    0, 500, '', 0, 0, %(n)s, 0, 0, 0, 0, 0, 1)
            """,
            {"chain": chain_id, "n": number, "hash": _hash(number), "parent": _hash(number - 1)},
        )


def _hash(number: int) -> bytes:
    return number.to_bytes(32, "big", signed=True)
