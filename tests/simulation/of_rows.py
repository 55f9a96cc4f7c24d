"""The chain's own tables in memory, row by row as COPY brings them; what the store says of them, on these tables."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import psycopg
from psycopg import sql as pg

from indexer.storage.tables import metadata
from services.persister import sql, store
from services.persister.rows import COLUMNS
from tests.simulation import of_follower, of_persister
from tests.simulation.database import Database, Session, Statement
from tests.simulation.of_persister import add_balances

Values = tuple[bytes | None, ...]  # of a row, as COPY has them: equal values are equal bytes
Key = tuple[bytes, int, bytes]

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_CHANGES = ("token_address", "token_id", "holder", "delta")


@dataclass(slots=True)
class Copied:
    """What is written to a COPY."""

    data: bytearray = field(default_factory=bytearray)

    def write(self, chunk: bytes | memoryview) -> None:
        self.data += chunk

    def rows(self) -> Iterator[Values]:
        assert self.data.startswith(_SIGNATURE)
        at = len(_SIGNATURE)
        while (count := _int2(self.data, at)) >= 0:
            at += 2
            values: list[bytes | None] = []
            for _ in range(count):
                size = _int4(self.data, at)
                values.append(None if size < 0 else bytes(self.data[at + 4 : at + 4 + size]))
                at += 4 + max(size, 0)
            yield tuple(values)
        assert at + 2 == len(self.data), "something follows the end of the copy"


class RowSession(Session):
    """A connection with cursors, which do nothing but COPY."""

    changes: list[Values]  # of balances: the temporary table

    @contextmanager
    def cursor(self) -> Iterator[RowSession]:
        yield self

    @contextmanager
    def copy(self, statement: str | pg.Composed) -> Iterator[Copied]:
        self.fault("before a copy")
        copied = Copied()
        yield copied
        if statement == store._COPY_CHANGES:
            self.changes = list(copied.rows())
            return
        assert isinstance(statement, pg.Composed)
        table = statement.as_string(None).split('"')[1]
        self.run(lambda s, p: _insert(self, table, copied.rows()))


class RowDatabase(Database):
    """Its connections take COPY."""

    def open(self, fault: Any, *, autocommit: bool = False) -> Session:
        session = RowSession(self, self.number(), fault, autocommit)
        self.sessions[session.pid] = session
        return session


def _primary_key(table: str) -> tuple[int, ...]:
    names = [column.name for column in metadata.tables[table].primary_key]
    return tuple(COLUMNS[table].index(name) for name in names)


_KEYS = {table: _primary_key(table) for table in COLUMNS}


def _insert(s: Session, table: str, rows: Iterable[Values]) -> int:
    """What COPY does: a row that is there already is refused, as is one that comes twice."""
    found: dict[int, dict[Values, Values]] = {}
    for row in rows:
        of_block = found.setdefault(_int8(row[1]), {})
        key = tuple(row[at] for at in _KEYS[table])
        if of_block.setdefault(key, row) is not row:
            raise psycopg.errors.UniqueViolation(f"{table}: a row comes twice")
    for number, of_block in found.items():
        s.lock(table, number)
        if s.get(table, number) is not None:
            raise psycopg.errors.UniqueViolation(f"{table}: rows of block {number} are there already")
        s.put(table, number, {"rows": [of_block[key] for key in sorted(of_block)]} | _of_block(table, of_block))
    return sum(map(len, found.values()))


def _of_block(table: str, rows: dict[Values, Values]) -> dict[str, Any]:
    """What others ask of a block, beside its row."""
    if table != "blocks":
        return {}
    (row,) = rows.values()
    named = dict(zip(COLUMNS[table], row, strict=True))
    generation = named.pop("generation")
    assert generation is not None
    return {
        "rows": [tuple(named.values())], "number": _int8(named["number"]), "hash": named["hash"],
        "parent": named["parent_hash"], "generation": _int8(generation), "version": _int4(named["model_version"]),
        "reason": "",
    }  # fmt: skip


def _stored_at(s: Session, p: Any) -> list[Any]:
    found = [(number, s.get("blocks", number)) for number in p["numbers"]]
    return [(n, row["hash"], row["generation"], row["version"]) for n, row in found if row is not None]


def _delete_transfers(s: Session, p: Any) -> list[Any]:
    gone = []
    of = itemgetter(*(COLUMNS["token_transfers"].index(each) for each in (
        "token_address", "token_id", "from_address", "to_address", "amount",
    )))  # fmt: skip
    for number in p["numbers"]:
        for row in (s.get("token_transfers", number) or {"rows": []})["rows"]:
            token, token_id, sender, receiver, amount = of(row)
            gone.append((token, _numeric(token_id), sender, receiver, _numeric(amount)))
        s.delete("token_transfers", number)
    return gone


def _delete_from(table: str) -> Statement:
    def delete(s: Session, p: Any) -> int:
        for number in p["numbers"]:
            s.delete(table, number)
        return len(p["numbers"])

    return delete


def _forget_changes(s: Session, p: Any) -> int:
    assert isinstance(s, RowSession)
    s.changes = []
    return 0


def _add_balances(s: Session, p: Any) -> int:
    assert isinstance(s, RowSession)
    deltas: dict[Key, int] = {}
    for token, token_id, holder, delta in s.changes:
        assert token is not None
        assert holder is not None
        key = (token, _numeric(token_id), holder)
        assert key not in deltas, "an upsert meets a row twice"
        deltas[key] = _numeric(delta)
    add_balances(s, deltas)
    return len(deltas)


def _int2(data: bytes | bytearray, at: int = 0) -> int:
    return int(struct.unpack_from(">h", data, at)[0])


def _int4(data: bytes | bytearray | None, at: int = 0) -> int:
    assert data is not None
    return int(struct.unpack_from(">i", data, at)[0])


def _int8(data: bytes | None) -> int:
    assert data is not None
    return int(struct.unpack(">q", data)[0])


def _numeric(data: bytes | None) -> int:
    """A whole number in PostgreSQL's binary form: digits of 10,000, the highest first."""
    assert data is not None
    count, weight, sign, scale = struct.unpack_from(">hhHH", data)
    assert scale == 0
    digits = struct.unpack_from(f">{count}h", data, 8)
    value = sum(digit * 10_000 ** (weight - at) for at, digit in enumerate(digits))
    return -value if sign else value


STATEMENTS: dict[str, Statement] = {
    **of_persister.STATEMENTS,
    **of_follower.STATEMENTS,
    sql.STORED_AT: _stored_at,
    sql.DELETE_TRANSFERS: _delete_transfers,
    **{each: _delete_from(each.split()[2]) for each in sql.DELETE_ROWS},
    sql.PREPARE_SESSION: _forget_changes,
    sql.ADD_BALANCES: _add_balances,
}
