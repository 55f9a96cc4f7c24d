"""Rows at heights without a stored block: found wherever they lie, and removed while persisters go on."""

from __future__ import annotations

from indexer.jobs.ranges import Ranges
from indexer.storage import balances
from indexer.storage.engine import Connection

_NOBODY = bytes(20)


def heights(connection: Connection, chain_id: int, first: int, last: int) -> list[tuple[int, str]]:
    """Return (height, table) of rows whose block is not stored."""
    rows = connection.execute(_HEIGHTS, {"chain": chain_id, "first": first, "last": last}).fetchall()
    return [(int(number), str(table)) for number, table in rows]


def count(connection: Connection, chain_id: int, blocks: Ranges) -> int:
    """Return at how many of these heights there are rows without their block."""
    return sum(len(heights(connection, chain_id, first, past - 1)) for first, past in blocks.pairs)


def remove(connection: Connection, chain_id: int, blocks: Ranges) -> int:
    """Delete these heights' rows where no block is stored, and bring the balances of their transfers right.

    Returns how many rows went. A block and its rows are committed together, so a statement that does not see the block
    sees none of its rows either: a persister that stores the height meanwhile loses nothing.
    """
    rows, keys = 0, set[balances.Key]()
    for first, past in blocks.pairs:
        named = {"chain": chain_id, "first": first, "last": past - 1}
        with connection.transaction():
            for statement in _DELETE:
                rows += connection.execute(statement, named).rowcount
            for token, token_id, *holders in connection.execute(_DELETE_TRANSFERS, named).fetchall():
                rows += 1
                if token_id.is_finite():  # of no token id there is no balance
                    keys |= {(bytes(token), int(token_id), bytes(each)) for each in holders if bytes(each) != _NOBODY}
    balances.repair(connection, chain_id, list(keys))
    return rows


def _delete(table: str) -> bytes:
    return f"DELETE FROM {table} r WHERE {_LOST}".encode()  # noqa: S608  # constants only


_LOST = """
    r.chain_id = %(chain)s AND r.block_number BETWEEN %(first)s AND %(last)s
    AND NOT EXISTS (SELECT FROM blocks b WHERE b.chain_id = %(chain)s AND b.number = r.block_number)
"""

_DELETE = tuple(map(_delete, ("transactions", "logs", "decoded_events", "transaction_processing")))

_DELETE_TRANSFERS = _delete("token_transfers") + b" RETURNING r.token_address, r.token_id, r.from_address, r.to_address"

_HEIGHTS = """
    SELECT x.number, min(x.name) FROM (
        SELECT DISTINCT block_number AS number, 'transactions' AS name FROM transactions
        WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s
        UNION SELECT DISTINCT block_number, 'logs' FROM logs
        WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s
        UNION SELECT DISTINCT block_number, 'token_transfers' FROM token_transfers
        WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s
        UNION SELECT DISTINCT block_number, 'decoded_events' FROM decoded_events
        WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s
        UNION SELECT DISTINCT block_number, 'transaction_processing' FROM transaction_processing
        WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s
    ) AS x
    WHERE NOT EXISTS (SELECT FROM blocks b WHERE b.chain_id = %(chain)s AND b.number = x.number)
    GROUP BY 1 ORDER BY 1
"""
