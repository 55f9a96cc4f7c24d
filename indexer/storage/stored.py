"""Stored rows back into the columns they came from, so that what proved a block once can prove its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import orjson
from psycopg import sql

from indexer.records import Header, Logs, Transactions
from indexer.storage.jobs import Connection

Columns = TypeVar("Columns", Transactions, Logs)

_JSON_TEXT = {"extra", "receipt_extra"}  # jsonb in the table, compact JSON in the columns
_WORDS = {"r", "s"}  # 32 bytes in the table, integers in the columns
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


def load_block(connection: Connection, chain_id: int, number: int) -> tuple[Header, Transactions, Logs] | None:
    """Return a stored block's columns, None where it is not stored."""
    names = [each.name for each in fields(Header)]
    statement = sql.SQL("SELECT {} FROM blocks WHERE chain_id = %s AND number = %s").format(_list(names))
    row = connection.execute(statement, (chain_id, number)).fetchone()
    if row is None:
        return None
    values = {name: _number(name, value) for name, value in zip(names, row, strict=True)}
    values["extra"], values["uncles"] = values["extra"] or {}, values["uncles"] or []
    transactions = _columns(connection, Transactions, "transactions", "transaction_index", chain_id, number)
    return Header(**values), transactions, _columns(connection, Logs, "logs", "log_index", chain_id, number)


def _columns(
    connection: Connection, kind: type[Columns], table: str, order: str, chain_id: int, number: int
) -> Columns:
    names = [each.name for each in fields(kind)]
    statement = sql.SQL("SELECT {} FROM {} WHERE chain_id = %s AND block_number = %s ORDER BY {}").format(
        _list(names), sql.Identifier(table), sql.Identifier(order)
    )
    rows = connection.execute(statement, (chain_id, number)).fetchall()
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return kind(**{name: [_cell(name, v) for v in column] for name, column in zip(names, columns, strict=True)})


def _list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _number(name: str, value: Any) -> Any:
    return int(value) if name in _AMOUNTS and value is not None else value


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _JSON_TEXT:
        return orjson.dumps(value).decode()
    if name in _WORDS:
        return int.from_bytes(value, "big")
    return _number(name, value)
