"""Whether two databases hold the same chain data: a digest of the rows; and whether balances equal the transfers.

Left out is what differs between two right runs: times of storing, generations, jobs, epochs. The database hashes its
rows by spans of heights in key order, so neither side needs memory for more than a span.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from psycopg import sql

from indexer.storage.engine import Connection
from indexer.storage.leaves import BLOCK_TABLES
from indexer.storage.tables import metadata

_NOT_OF_THE_CHAIN = {"stored_at", "generation"}
_NO_DATA = {"block_processing"}
_SPAN = 1000  # heights hashed together


@dataclass(frozen=True, slots=True)
class Digest:
    """Rows and hash of every data table of a chain; balances without those that are zero."""

    rows: dict[str, int]
    hashes: dict[str, str]

    @property
    def total(self) -> str:
        return hashlib.sha256(repr(sorted(self.hashes.items())).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class WrongBalance:
    """A balance that the transfers do not come to."""

    token_address: bytes
    token_id: int
    holder: bytes
    recorded: int
    recomputed: int


def digest(connection: Connection, chain_id: int) -> Digest:
    """Return the digest of a chain's data, from one snapshot."""
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL bytea_output = 'hex'")
        for table in BLOCK_TABLES:
            if table not in _NO_DATA:
                rows[table], hashes[table] = _table(connection, table, chain_id)
        rows["balances"], hashes["balances"] = _spans(connection, sql.SQL(_BALANCES), chain_id)
    return Digest(rows, hashes)


def wrong_balances(connection: Connection, chain_id: int, limit: int = 20) -> list[WrongBalance]:
    """Return balances that differ from the sum of the stored transfers; empty when the ledger is right."""
    found = connection.execute(_WRONG, {"chain_id": chain_id, "limit": limit}).fetchall()
    return [WrongBalance(token, int(i), holder, int(is_), int(ought)) for token, i, holder, is_, ought in found]


def _table(connection: Connection, table: str, chain_id: int) -> tuple[int, str]:
    columns = [column.name for column in metadata.tables[table].columns if column.name not in _NOT_OF_THE_CHAIN]
    keys = [column.name for column in metadata.tables[table].primary_key if column.name != "chain_id"]
    query = sql.SQL(_ROWS).format(
        height=sql.Identifier(keys[0]),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
        table=sql.Identifier(table),
        span=sql.Literal(_SPAN),
    )
    return _spans(connection, query, chain_id)


def _spans(connection: Connection, query: sql.SQL | sql.Composed, chain_id: int) -> tuple[int, str]:
    total, hashed = 0, hashlib.sha256()
    for span, count, value in connection.execute(query, {"chain_id": chain_id}):
        total += count
        hashed.update(f"{span}:{count}:{value};".encode())
    return total, hashed.hexdigest()


_ROWS = """
    SELECT {height} / {span} AS span, count(*), md5(string_agg(md5(ROW({columns})::text), '' ORDER BY {keys}))
    FROM {table} WHERE chain_id = %(chain_id)s GROUP BY 1 ORDER BY 1
"""

_BALANCES = """
    SELECT get_byte(holder, 0) AS span, count(*),
           md5(string_agg(md5(ROW(token_address, token_id, holder, trim_scale(balance))::text), ''
                          ORDER BY token_address, token_id, holder))
    FROM balances WHERE chain_id = %(chain_id)s AND balance <> 0 GROUP BY 1 ORDER BY 1
"""

_WRONG = """
    WITH recomputed AS (
        SELECT token_address, token_id, holder, sum(delta) AS balance
        FROM position_entries WHERE chain_id = %(chain_id)s GROUP BY 1, 2, 3
    ), recorded AS (
        SELECT token_address, token_id, holder, balance FROM balances WHERE chain_id = %(chain_id)s
    )
    SELECT token_address, token_id, holder, coalesce(b.balance, 0), coalesce(r.balance, 0)
    FROM recorded b FULL JOIN recomputed r USING (token_address, token_id, holder)
    WHERE coalesce(b.balance, 0) <> coalesce(r.balance, 0)
    ORDER BY 1, 2, 3 LIMIT %(limit)s
"""
