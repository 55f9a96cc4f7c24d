"""What storing a block costs, at the client and at the server (needs DATABASE_URL).

CPU time, not wall time, so that a busy machine does not distort it. Blocks of 40 transactions, 65 logs, 50 transfers.
With `--pure`: what the rows alone cost, with the compiled module and without it; needs no database.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import psycopg

from indexer import native
from indexer.codec import encode_block
from indexer.inflight import Record
from indexer.pipeline import Handled
from indexer.records import DecodedBlock
from indexer.settings import Settings
from indexer.storage import migrate
from indexer.storage.digest import wrong_balances
from indexer.storage.engine import Connection
from services.persister.binary import copy_stream
from services.persister.connections import PartitionKeeper, RowConnections
from services.persister.handler import Item
from services.persister.ledger import Ledger
from services.persister.packed import PackedBlock, read, rows_of
from services.persister.rows import COLUMNS, _logs
from services.persister.store import BlockWriter, Destination
from tests.support.blocks import BlockMaker

BATCH, BATCHES = 200, 8
TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def main() -> None:
    if "--pure" in sys.argv:
        pure()
        return
    holders = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    maker = BlockMaker(transactions=40, logs=65, transfers=50, holders=holders, tokens=20, events=False)
    url = os.environ["DATABASE_URL"]
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            settings = Settings(database_url=urlsplit(url)._replace(path=f"/{name}").geturl(), chain_id=maker.chain_id)
            run(settings, maker)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def pure(rounds: int = 10) -> None:
    """From records to pieces and changes, in ms a block: the least of several rounds."""
    maker = BlockMaker(transactions=40, logs=65, transfers=50, holders=2000, tokens=20, events=False)
    values = [encode_block(maker(n)) for n in range(BATCH)]
    for name, module in (("compiled", native.load("auto")), ("python", None)):
        if name == "compiled" and module is None:
            print("compiled: the module (native/) is not built")
            continue
        spent = [_laps(values, module) for _ in range(rounds)]
        least = [min(each) * 1000 / BATCH for each in zip(*spent, strict=True)]
        print(name.ljust(8), ", ".join(f"{what} {ms:.3f}" for what, ms in zip(_PURE, least, strict=True)), "ms a block")


_PURE = ("all", "read", "rows", "changes")


def _laps(values: list[bytes], module: ModuleType | None) -> tuple[float, ...]:
    at = [time.process_time()]
    blocks = [block for block in (read(value, module) for value in values) if isinstance(block, PackedBlock)]
    at.append(time.process_time())
    rows_of(blocks)
    at.append(time.process_time())
    ledger = Ledger(module)
    for block in blocks:
        ledger.add(block)
    ledger.rows()
    at.append(time.process_time())
    return (at[-1] - at[0], *(end - start for start, end in pairwise(at)))


def run(settings: Settings, maker: BlockMaker) -> None:
    migrate.migrate(settings)
    keeper = PartitionKeeper(settings)
    connection = RowConnections(settings).open()
    module = native.load(settings.native)
    writer = BlockWriter(Destination(settings.chain_id, "g", 12, "dlq", str), keeper, native=module)
    pid = connection.info.backend_pid
    spent = dict.fromkeys(("decode", "rows", "ledger", "client", "server", "wall"), 0.0)
    for batch in range(BATCHES):
        encoded = [encode_block(maker(n)) for n in range(batch * BATCH, (batch + 1) * BATCH)]
        start = time.process_time()
        found = [read(value, module) for value in encoded]
        spent["decode"] += time.process_time() - start
        blocks = [block for block in found if isinstance(block, PackedBlock)]
        handled = [
            Handled(r.source, r.offset, Item(r, b), 0) for r, b in ((Record("t", 0, 0, b"", b""), b) for b in blocks)
        ]
        start = time.process_time()
        rows_of(blocks)
        spent["rows"] += time.process_time() - start
        start = time.process_time()
        ledger = Ledger(module)
        for block in blocks:
            ledger.add(block)
        ledger.rows()
        spent["ledger"] += time.process_time() - start
        writer.prepare(handled)
        client, server, wall = time.process_time(), cpu_of(pid), time.perf_counter()
        writer.write(connection, handled)
        connection.commit()
        spent["client"] += time.process_time() - client
        spent["server"] += cpu_of(pid) - server
        spent["wall"] += time.perf_counter() - wall
        print(f"batch {batch}: {len(ledger)} balances, client {1000 * spent['client'] / (batch + 1) / BATCH:.2f}")
    for what, seconds in spent.items():
        print(f"{what:8} {1000 * seconds / BATCH / BATCHES:.3f} ms a block")
    assert not wrong_balances(connection, settings.chain_id)
    compare(connection, [maker(n) for n in range(10_000_0, 10_000_0 + BATCH)])


def compare(connection: Connection, blocks: list[DecodedBlock]) -> None:
    """COPY of logs: psycopg's write_row against pieces zipped by column."""
    connection.execute("CREATE TEMP TABLE scratch (LIKE logs)")
    columns = ", ".join(COLUMNS["logs"])
    start = time.process_time()
    with connection.cursor().copy(f"COPY scratch ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "int8", "int4", "int4", *["bytea"] * 6])
        for block in blocks:
            logs = block.logs
            for row in zip(
                logs.log_index, logs.transaction_index, logs.address, logs.topic0, logs.topic1, logs.topic2,
                logs.topic3, logs.data, strict=True,
            ):  # fmt: skip
                copy.write_row((block.chain_id, block.header.number, *row))
    print(f"logs, write_row   {1000 * (time.process_time() - start) / BATCH:.3f} ms a block")
    start = time.process_time()
    with connection.cursor().copy(f"COPY scratch ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
        for chunk in copy_stream(map(_logs, blocks)):
            copy.write(chunk)
    print(f"logs, by column   {1000 * (time.process_time() - start) / BATCH:.3f} ms a block")


if __name__ == "__main__":
    main()
