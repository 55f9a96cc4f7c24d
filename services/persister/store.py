"""The rows of a batch of blocks, inside the transaction that the sink holds open (PROTOCOL 1, 2, 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from types import ModuleType
from typing import Any, Protocol

from psycopg import sql as pg
from psycopg.types.json import Jsonb

from indexer.clock import wall
from indexer.deadletter import dead_letter_headers, origin_of
from indexer.errors import PoisonError
from indexer.pipeline import Handled
from indexer.records import Rollback, TokenTransfers
from indexer.storage.engine import Connection
from indexer.storage.odd_values import is_transfer
from indexer.storage.partitions import leaf_name
from indexer.tally import Work
from indexer.topics import partition_of
from services.persister import sql
from services.persister.binary import copy_stream
from services.persister.coverage import bits_of, stored_bits
from services.persister.decide import Plan, Stored, plan
from services.persister.handler import Item
from services.persister.ledger import Ledger
from services.persister.packed import PackedBlock, rows_of
from services.persister.rows import COLUMNS, BlockRefusedError, Rows
from services.persister.sink import RefusedError

Items = Sequence[Handled[Item]]
Fault = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where rows and letters of one deployment go."""

    chain_id: int
    group: str
    partitions: int
    dlq: str  # the topic's name
    topic_id: Callable[[str], str]
    build: str = ""


class Partitions(Protocol):
    """Where heights have their rows."""

    def __call__(self, numbers: set[int]) -> None:
        """Make what is missing for these heights."""

    def forget(self) -> None:
        """Look again which leaves there are."""

    def leaf_of(self, first: int, last: int) -> int | None:
        """Return where the leaf that holds both begins, None when two hold them."""


class BlockWriter:
    """The sink's Writer for `blocks.decoded`."""

    def __init__(
        self,
        destination: Destination,
        partitions: Partitions,
        fault: Fault = lambda place: None,
        now: Callable[[], float] = wall,
        work: Work | None = None,
        native: ModuleType | None = None,
    ) -> None:
        self._to, self._partitions, self._fault, self._now = destination, partitions, fault, now
        self._work, self._native = work or Work(), native
        self.rows = 0
        self.refused_blocks = 0

    def connected(self) -> None:
        self._partitions.forget()

    def prepare(self, handled: Items) -> None:
        self._partitions({block.number for block in _blocks(handled)})

    def set_aside(self, handled: Handled[Item], error: PoisonError) -> Handled[Item]:
        return Handled(handled.source, handled.offset, Item(handled.result.record, error), handled.size)

    def write(self, connection: Connection, handled: Items) -> None:
        """Blocks between two rollbacks are one step; balances come last, in one order for everybody."""
        ledger = Ledger(self._native)
        for rollback, group in groupby(handled, key=lambda each: isinstance(each.result.value, Rollback)):
            some = list(group)
            if rollback:
                for each in some:
                    self._roll_back(connection, each, ledger)
            else:
                self._store(connection, some, ledger)
        self._letters(connection, handled)
        self._add_balances(connection, ledger)

    # blocks

    def _store(self, connection: Connection, handled: Items, ledger: Ledger) -> None:
        blocks = list(_blocks(handled))
        if not blocks:
            return
        lap = self._work.stopwatch()
        todo = plan(blocks, self._stored_at(connection, blocks), self._rollbacks(connection))
        lap("lookup")
        self.refused_blocks += len(todo.refused)
        self._delete(connection, todo.delete, ledger)
        if todo.insert:
            self._insert(connection, handled, todo, ledger)
        if todo.raise_generation:
            heights = list(todo.raise_generation)
            generations = list(todo.raise_generation.values())
            connection.execute(sql.RAISE_GENERATION, self._at(heights, generations=generations))
        if todo.covered:
            lap = self._work.stopwatch()
            heights = sorted({block.number for block in todo.covered})
            connection.execute(sql.RESOLVE_LETTERS, self._at(heights, written=list(todo.insert)))
            self._cover(connection, todo.covered)
            lap("coverage")

    def _insert(self, connection: Connection, handled: Items, todo: Plan, ledger: Ledger) -> None:
        blocks = [todo.insert[number] for number in sorted(todo.insert)]
        lap = self._work.stopwatch()
        try:
            rows = rows_of(blocks)
        except BlockRefusedError as error:
            raise _refused(handled, error) from error
        lap("rows")
        for block in blocks:
            ledger.add(block)
        lap("ledger")
        self._fault("persister.before-copy")
        heights = [block.number for block in blocks]
        self._copy(connection, rows, self._partitions.leaf_of(heights[0], heights[-1]))
        lap("copy")
        connection.execute(
            sql.NOTE_STORED,
            self._at(
                heights,
                jobs=[block.job_id for block in blocks],
                generations=[block.generation for block in blocks],
            ),
        )
        lap("coverage")
        self.rows += rows.count

    def _copy(self, connection: Connection, rows: Rows, leaf: int | None) -> None:
        """Copy into the leaf that takes all rows, if there is one: a fifth less work for the server."""
        with connection.cursor() as cursor:
            for table, pieces in rows.tables.items():
                if not pieces:
                    continue
                with cursor.copy(_copy_into(table, leaf)) as copy:
                    for at, chunk in enumerate(copy_stream(pieces)):
                        copy.write(chunk)
                        if table == "transactions" and at == 0:
                            self._fault("persister.inside-copy")

    def _cover(self, connection: Connection, blocks: Iterable[PackedBlock]) -> None:
        bits = stored_bits(blocks)
        connection.execute(
            sql.COVER,
            {"chain_id": self._to.chain_id, "stripes": bits.stripes, "jobs": bits.jobs, "masks": bits.masks},
        )

    def _stored_at(self, connection: Connection, blocks: Sequence[PackedBlock]) -> dict[int, Stored]:
        numbers = sorted({block.number for block in blocks})
        rows = connection.execute(sql.STORED_AT, self._at(numbers)).fetchall()
        return {number: Stored(hash_, generation, version) for number, hash_, generation, version in rows}

    def _rollbacks(self, connection: Connection) -> list[tuple[int, int]]:
        return [(int(a), int(b)) for a, b in connection.execute(sql.ROLLBACKS, (self._to.chain_id,)).fetchall()]

    def _delete(self, connection: Connection, numbers: Iterable[int], ledger: Ledger) -> None:
        """Delete the rows at these heights and take back what they did to balances.

        A row that somebody altered into what is no transfer is only deleted: `indexer repair` sums balances up anew.
        """
        heights = sorted(numbers)
        if not heights:
            return
        gone = TokenTransfers()
        for token, token_id, sender, receiver, amount in connection.execute(sql.DELETE_TRANSFERS, self._at(heights)):
            if not is_transfer(token, token_id, sender, receiver, amount):
                continue
            gone.token_address.append(token)
            gone.token_id.append(int(token_id))
            gone.from_address.append(receiver)  # the way back
            gone.to_address.append(sender)
            gone.amount.append(int(amount))
        ledger.move(gone)
        for statement in sql.DELETE_ROWS:
            connection.execute(statement, self._at(heights))

    # rollbacks

    def _roll_back(self, connection: Connection, handled: Handled[Item], ledger: Ledger) -> None:
        """Empty this partition's heights of what is older (PROTOCOL 7); repeats find nothing to do."""
        order = handled.result.value
        assert isinstance(order, Rollback)
        named = {"chain_id": self._to.chain_id, "from": order.from_number, "generation": order.generation}
        if connection.execute(sql.KNOW_ROLLBACK, named).rowcount:
            connection.execute(sql.LOWER_CANONICAL, named)
        older = [int(row[0]) for row in connection.execute(sql.OLDER_ROWS, named).fetchall()]
        partition = handled.source.partition
        emptied = [number for number in older if partition_of(number, self._to.partitions) == partition]
        self._delete(connection, emptied, ledger)
        if emptied:
            connection.execute(sql.FORGET_OUTCOME, self._at(emptied))
            bits = bits_of((number, 0) for number in emptied)
            touched = named | {"stripes": bits.stripes, "masks": bits.masks}
            connection.execute(sql.HOLD_JOBS, touched)
            connection.execute(sql.UNCOVER, touched)
        connection.execute(
            sql.NOTE_GENERATION,
            named | {"group": self._to.group, "topic": handled.source.topic, "partition": partition},
        )

    # letters and balances

    def _letters(self, connection: Connection, handled: Items) -> None:
        for each in handled:
            error = each.result.value
            if isinstance(error, PoisonError):
                connection.execute(sql.OUTBOX, self._letter(each.result, error))

    def _letter(self, item: Item, error: PoisonError) -> tuple[Any, ...]:
        record, now_ms = item.record, int(self._now() * 1000)
        headers = dead_letter_headers(
            record,
            error,
            service="persister",
            stage="persist" if error.code in _PERSIST_CODES else "deserialize",
            attempts=1,
            origin=origin_of(record, self._to.topic_id(record.topic)),
            first_failed_ms=now_ms,
            last_failed_ms=now_ms,
            build=self._to.build,
        )
        as_hex = [[name, None if value is None else value.hex()] for name, value in headers]
        return (self._to.dlq, record.partition, record.key, record.value, Jsonb(as_hex))

    def _add_balances(self, connection: Connection, ledger: Ledger) -> None:
        lap = self._work.stopwatch()
        rows = ledger.rows()
        if not rows:
            return
        connection.execute(sql.PREPARE_SESSION)
        with connection.cursor() as cursor, cursor.copy(_COPY_CHANGES) as copy:
            for chunk in copy_stream([rows]):
                copy.write(chunk)
        connection.execute(sql.ADD_BALANCES, {"chain_id": self._to.chain_id})
        lap("ledger")

    def _at(self, numbers: Sequence[int], **more: object) -> dict[str, object]:
        return {"chain_id": self._to.chain_id, "numbers": list(numbers), **more}


def _blocks(handled: Items) -> Iterator[PackedBlock]:
    return (each.result.value for each in handled if isinstance(each.result.value, PackedBlock))


def _refused(handled: Items, error: BlockRefusedError) -> Exception:
    for each in handled:
        value = each.result.value
        if isinstance(value, PackedBlock) and value.content is error.block:
            return RefusedError(each.source, each.offset, error)
    return error


_PERSIST_CODES = ("ROW_REFUSED", "BLOCK_NOT_STORABLE")


@lru_cache(maxsize=64)
def _copy_into(table: str, leaf: int | None) -> pg.Composed:
    return pg.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        pg.Identifier(table if leaf is None else leaf_name(table, leaf)),
        pg.SQL(", ").join(map(pg.Identifier, COLUMNS[table])),
    )


_COPY_CHANGES = "COPY balance_changes (token_address, token_id, holder, delta) FROM STDIN (FORMAT BINARY)"
