"""Derived rows replaced beside running persisters (PROTOCOL 19)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from indexer.audit.rows import transfers_of
from indexer.redecode.changes import Redecoded, deltas
from indexer.storage.engine import Connection
from indexer.storage.failures import translated
from indexer.storage.odd_values import is_transfer


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rows of consumer_progress say who writes a partition."""

    group: str
    topic: str


def write(
    connection: Connection,
    chain_id: int,
    owner: Owner,
    partition: int,
    version: int,
    blocks: Sequence[Redecoded],
    locked: Callable[[], None] = lambda: None,
) -> set[int]:
    """Replace the derived rows of these blocks of one partition; return the heights that have other rows by now.

    The row of consumer_progress is locked first: a persister moves it before it writes anything, so nobody else writes
    this partition's heights until we commit. Then it is looked whether the blocks are still those that were decoded.
    Balances come last, in key order, as a persister's do. `locked` is called when the partition is ours.
    """
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '30s'")
            connection.execute(_LOCK, (owner.group, owner.topic, partition))
            locked()
            return _write(connection, chain_id, version, blocks)
    except psycopg.Error as error:
        raise translated(error, "writing decoded rows", connection) from error


def _write(connection: Connection, chain_id: int, version: int, blocks: Sequence[Redecoded]) -> set[int]:
    numbers = [block.number for block in blocks]
    rows = connection.execute(_NOW, {"chain": chain_id, "numbers": numbers}).fetchall()
    now = {(number, bytes(hash_), stored_at) for number, hash_, stored_at in rows}
    same = [block for block in blocks if (block.number, block.hash, block.stored_at) in now]
    anew = [block for block in same if block.rewrite]
    if anew:
        _replace(connection, chain_id, anew)
    connection.execute(
        _MARK,
        {
            "chain": chain_id,
            "numbers": [block.number for block in same],
            "undecoded": [len(block.decoded.undecoded) for block in same],
            "version": version,
        },
    )
    return set(numbers) - {block.number for block in same}


def _replace(connection: Connection, chain_id: int, blocks: Sequence[Redecoded]) -> None:
    named = {"chain": chain_id, "numbers": [block.number for block in blocks]}
    gone = [
        (bytes(token), int(id_), bytes(sender), bytes(receiver), int(amount))
        for token, id_, sender, receiver, amount in connection.execute(_DELETE_TRANSFERS, named).fetchall()
        if is_transfer(token, id_, sender, receiver, amount)
    ]
    for statement in _DELETE:
        connection.execute(statement, named)
    with connection.cursor() as cursor:
        cursor.executemany(
            _INSERT_TRANSFER,
            [(chain_id, b.number, *row) for b in blocks for row in transfers_of(b.decoded.token_transfers)],
        )
        cursor.executemany(
            _INSERT_EVENT,
            [
                (chain_id, b.number, *row)
                for b in blocks
                for row in zip(
                    b.decoded.decoded_events.log_index,
                    b.decoded.decoded_events.model,
                    b.decoded.decoded_events.event,
                    b.decoded.decoded_events.args,
                    strict=True,
                )
            ],
        )
        cursor.executemany(_INSERT_MARK, [(chain_id, b.number, *row) for b in blocks for row in b.attention])
    if changes := deltas(gone, blocks):
        connection.execute(
            _ADD_BALANCES,
            {
                "chain": chain_id,
                "tokens": [token for token, _, _ in changes],
                "ids": [token_id for _, token_id, _ in changes],
                "holders": [holder for _, _, holder in changes],
                "deltas": list(changes.values()),
            },
        )


# A partition that no persister has ever owned gets the row that its first owner would make.
_LOCK = """
    INSERT INTO consumer_progress AS p (consumer_group, topic, partition, topic_id, epoch, next_offset)
    VALUES (%s, %s, %s, '', 0, 0)
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET epoch = p.epoch
"""

_NOW = "SELECT number, hash, stored_at::text FROM blocks WHERE chain_id = %(chain)s AND number = ANY(%(numbers)s)"

_DELETE_TRANSFERS = """
    DELETE FROM token_transfers WHERE chain_id = %(chain)s AND block_number = ANY(%(numbers)s)
    RETURNING token_address, token_id, from_address, to_address, amount
"""

_DELETE = (
    "DELETE FROM decoded_events WHERE chain_id = %(chain)s AND block_number = ANY(%(numbers)s)",
    "DELETE FROM transaction_processing WHERE chain_id = %(chain)s AND block_number = ANY(%(numbers)s)",
)

_INSERT_TRANSFER = """
    INSERT INTO token_transfers (chain_id, block_number, log_index, batch_index, token_address, from_address,
                                 to_address, standard, kind, token_id, amount)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

_INSERT_EVENT = """
    INSERT INTO decoded_events (chain_id, block_number, log_index, model, event, args)
    VALUES (%s, %s, %s, %s, %s, %s::jsonb)
"""

_INSERT_MARK = """
    INSERT INTO transaction_processing (chain_id, block_number, transaction_index, code, log_indexes)
    VALUES (%s, %s, %s, %s, %s)
"""

_MARK = """
    UPDATE blocks b SET undecoded_logs = x.undecoded, model_version = %(version)s
    FROM unnest(%(numbers)s::bigint[], %(undecoded)s::int[]) AS x (number, undecoded)
    WHERE b.chain_id = %(chain)s AND b.number = x.number AND b.number = ANY(%(numbers)s)
"""

_ADD_BALANCES = """
    INSERT INTO balances AS b (chain_id, token_address, token_id, holder, balance)
    SELECT %(chain)s, k.token, k.id, k.holder, k.delta
    FROM unnest(%(tokens)s::bytea[], %(ids)s::numeric[], %(holders)s::bytea[], %(deltas)s::numeric[])
         AS k (token, id, holder, delta)
    ORDER BY k.token, k.id, k.holder
    ON CONFLICT (chain_id, token_address, token_id, holder) DO UPDATE SET balance = b.balance + excluded.balance
"""
