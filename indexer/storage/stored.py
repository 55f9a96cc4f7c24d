"""Stored rows back into the columns they came from, so that what proved a block once can prove its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

import orjson
from psycopg import Cursor, sql
from psycopg.types.string import TextLoader

from indexer.audit.rows import StoredBlock, same_json
from indexer.records import Header, Logs, Transactions
from indexer.storage.jobs import Connection
from indexer.storage.odd_values import whole

Columns = TypeVar("Columns", Transactions, Logs)

_WORDS = {"r", "s"}  # 32 bytes in the table, integers in the columns
_WORD_BYTES = 32
_AMOUNTS = {
    "value",
    "gas_price",
    "max_fee_per_gas",
    "max_priority_fee_per_gas",
    "v",
    "receipt_effective_gas_price",
    "difficulty",
    "total_difficulty",
    "base_fee_per_gas",
}

_OF_BLOCK = (
    "transaction_count", "log_count", "proofs", "undecoded_logs", "model_version", "stored_at",
)  # fmt: skip
_CHILDREN: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("transactions", (*(each.name for each in fields(Transactions)), "transaction_index"), "transaction_index"),
    ("logs", tuple(each.name for each in fields(Logs)), "log_index"),
    (
        "token_transfers",
        ("log_index", "batch_index", "token_address", "from_address", "to_address", "standard", "kind", "token_id",
         "amount"),
        "log_index",
    ),
    ("decoded_events", ("log_index", "model", "event", "args"), "log_index"),
    ("transaction_processing", ("transaction_index", "code", "log_indexes"), "transaction_index"),
)  # fmt: skip


def load_block(connection: Connection, chain_id: int, number: int) -> tuple[Header, Transactions, Logs] | None:
    """Return a stored block's columns, None where it is not stored."""
    names = [each.name for each in fields(Header)]
    statement = sql.SQL("SELECT {} FROM blocks WHERE chain_id = %s AND number = %s").format(_list(names))
    row = _executed(connection, statement, (chain_id, number)).fetchone()
    if row is None:
        return None
    transactions = _columns(connection, Transactions, "transactions", "transaction_index", chain_id, number)
    return _header(names, row), transactions, _columns(connection, Logs, "logs", "log_index", chain_id, number)


def load_blocks(connection: Connection, chain_id: int, first: int, last: int) -> Iterator[StoredBlock]:
    """Yield all rows of the blocks stored from first to last, in order; one query a table.

    What is no whole number, word or object stays as it is: who reads the columns finds that it is of another kind.
    """
    span = (chain_id, first, last)
    rows_of = {table: _by_height(connection, table, names, order, span) for table, names, order in _CHILDREN}
    names = [each.name for each in fields(Header)]
    statement = sql.SQL("SELECT {} FROM blocks WHERE chain_id = %s AND number BETWEEN %s AND %s ORDER BY number")
    for row in _executed(connection, statement.format(_list([*names, *_OF_BLOCK])), span).fetchall():
        header = _header(names, row[: len(names)])
        children = {table: rows_of[table].get(header.number, []) for table, _, _ in _CHILDREN}
        transactions, logs = children["transactions"], children["logs"]
        transaction_count, log_count, proofs, undecoded, version, stored_at = row[len(names) :]
        yield StoredBlock(
            header,
            _kind(Transactions, transactions),
            _kind(Logs, logs),
            transaction_count,
            log_count,
            proofs,
            undecoded,
            version,
            transaction_indexes=[r[-1] for r in transactions],
            transfers=[(*r[:7], whole(r[7]), whole(r[8])) for r in children["token_transfers"]],
            events=[(*r[:3], same_json(r[3])) for r in children["decoded_events"]],
            attention=[tuple(r) for r in children["transaction_processing"]],
            stored_at=stored_at,
        )


def _by_height(
    connection: Connection, table: str, names: Sequence[str], order: str, span: tuple[int, int, int]
) -> dict[int, list[Any]]:
    statement = sql.SQL(
        "SELECT block_number, {} FROM {} WHERE chain_id = %s AND block_number BETWEEN %s AND %s ORDER BY 1, {}"
    ).format(_list(names), sql.Identifier(table), sql.Identifier(order))
    rows = _executed(connection, statement, span).fetchall()
    return {number: [row[1:] for row in some] for number, some in groupby(rows, key=itemgetter(0))}


def _kind(kind: type[Columns], rows: Sequence[Sequence[Any]]) -> Columns:
    names = [each.name for each in fields(kind)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return kind(**{n: [_cell(n, v) for v in c] for n, c in zip(names, columns, strict=False)})


def _columns(
    connection: Connection, kind: type[Columns], table: str, order: str, chain_id: int, number: int
) -> Columns:
    names = [each.name for each in fields(kind)]
    statement = sql.SQL("SELECT {} FROM {} WHERE chain_id = %s AND block_number = %s ORDER BY {}").format(
        _list(names), sql.Identifier(table), sql.Identifier(order)
    )
    rows = _executed(connection, statement, (chain_id, number)).fetchall()
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return kind(**{name: [_cell(name, v) for v in column] for name, column in zip(names, columns, strict=True)})


def _executed(connection: Connection, statement: sql.Composed, parameters: Sequence[int]) -> Cursor[Any]:
    """Execute a query that gives as text what the database can hold and Python cannot: deep JSON, the time infinity."""
    cursor = connection.cursor()
    for name in ("jsonb", "timestamptz"):
        cursor.adapters.register_loader(name, TextLoader)
    return cursor.execute(statement, parameters)


def _list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _header(names: Sequence[str], row: Sequence[Any]) -> Header:
    values = {name: _cell(name, value) for name, value in zip(names, row, strict=True)}
    values["extra"], values["uncles"] = _object(values["extra"]), values["uncles"] or []
    return Header(**values)


def _object(text: str | None) -> Any:
    try:
        return {} if text is None else orjson.loads(text)
    except ValueError:
        return text


def _cell(name: str, value: Any) -> Any:
    if name in _AMOUNTS and value is not None:
        return whole(value)
    if name in _WORDS and len(value) == _WORD_BYTES:
        return int.from_bytes(value, "big")
    return value
