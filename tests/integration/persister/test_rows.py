"""Every value that fits the records survives COPY; what psycopg reads back is what was packed."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tune

from indexer import native
from indexer.codec import encode_block
from indexer.records import DecodedBlock
from indexer.storage.tables import metadata
from services.persister import binary
from services.persister.ledger import Ledger
from services.persister.packed import PackedBlock, packed, read, rows_of
from services.persister.rows import COLUMNS, BlockRefusedError
from tests.support import record_strategies as strategies
from tests.support.blocks import BlockMaker

pytestmark = pytest.mark.integration


def test_the_columns_are_the_tables_columns() -> None:
    for table, columns in COLUMNS.items():
        declared = [column.name for column in metadata.tables[table].columns]
        assert sorted(columns) == sorted(set(declared) - {"stored_at"})


def copied(connection: psycopg.Connection, block: DecodedBlock) -> dict[str, list[dict[str, Any]]]:
    """Copy a block into temporary tables and read it back."""
    found_block = read(encode_block(block), native.load("auto"))
    assert isinstance(found_block, PackedBlock)
    rows = rows_of([found_block])
    found = {}
    for table, columns in COLUMNS.items():
        names = ", ".join(columns)
        connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS t_{table} (LIKE {table} INCLUDING DEFAULTS)")  # type: ignore[call-overload]
        connection.execute(f"TRUNCATE t_{table}")  # type: ignore[call-overload]
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY t_{table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:  # type: ignore[call-overload]
                for chunk in binary.copy_stream(rows.tables[table], chunk=100):
                    copy.write(chunk)
            cursor.execute(f"SELECT {names} FROM t_{table}")  # type: ignore[call-overload]
            found[table] = [dict(zip(columns, row, strict=True)) for row in cursor]
    return found


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [row[name] for row in rows]


@tune(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=strategies.blocks)
def test_a_block_survives_copy(look: psycopg.Connection, block: DecodedBlock) -> None:
    _with_json(block)
    try:
        found = copied(look, block)
    except BlockRefusedError:
        assert max(_int4s(block)) >= 2**31
        return

    [header] = found["blocks"]
    for name in ("hash", "difficulty", "base_fee_per_gas", "mix_hash", "nonce", "uncles", "excess_blob_gas"):
        assert header[name] == getattr(block.header, name), name
    assert header["generation"] == block.generation
    t = found["transactions"]
    assert column(t, "transaction_index") == list(range(len(t)))
    for name in ("hash", "nonce", "value", "gas_price", "max_fee_per_gas", "input", "v", "receipt_root", "to_address"):
        assert column(t, name) == getattr(block.transactions, name), name
    assert [int.from_bytes(r) for r in column(t, "r")] == block.transactions.r
    for name in COLUMNS["logs"][2:]:
        assert column(found["logs"], name) == getattr(block.logs, name), name
    for name in COLUMNS["token_transfers"][2:]:
        assert column(found["token_transfers"], name) == getattr(block.token_transfers, name), name
    assert column(found["decoded_events"], "model") == block.decoded_events.model


def _with_json(block: DecodedBlock) -> None:
    """Make texts what a decoder makes of them: JSON where JSON belongs, no NUL in names that an operator chose."""
    t, e = block.transactions, block.decoded_events
    for texts in (t.extra, t.receipt_extra, e.args):
        texts[:] = [None if text is None else json.dumps([text]) for text in texts]
    e.model[:] = [text.replace("\x00", "") for text in e.model]
    e.event[:] = [text.replace("\x00", "") for text in e.event]
    block.undecoded_logs = [index for index in block.logs.log_index[:1] if index < 2**32]


def _int4s(block: DecodedBlock) -> list[int]:
    logs, transfers = block.logs, block.token_transfers
    return [
        0,
        *logs.log_index,
        *logs.transaction_index,
        *transfers.log_index,
        *transfers.batch_index,
        *block.decoded_events.log_index,
    ]


@tune(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=strategies.uint256)
def test_a_number_survives_copy(look: psycopg.Connection, number: int) -> None:
    with look.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE IF NOT EXISTS numbers (n numeric)")
        cursor.execute("TRUNCATE numbers")
        with cursor.copy("COPY numbers FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"".join(binary.copy_stream([binary.rows(1, b"", [binary.unique_numerics([number, -number])])])))

        assert cursor.execute("SELECT n FROM numbers ORDER BY n DESC").fetchall() == [(number,), (-number,)]


def test_changes_that_cancel_out_are_not_written() -> None:
    ledger = Ledger(native.load("auto"))
    block = BlockMaker()(1)
    ledger.add(packed(block))
    back = BlockMaker()(1).token_transfers
    back.from_address, back.to_address = back.to_address, back.from_address
    ledger.move(back)

    assert len(ledger) > 0
    assert ledger.rows() == b""


def test_an_undecoded_log_that_is_not_in_the_block_is_refused() -> None:
    block = BlockMaker()(1)
    block.undecoded_logs = [99]

    with pytest.raises(BlockRefusedError, match="block 1 does not fit into transaction_processing"):
        rows_of([packed(block)])
