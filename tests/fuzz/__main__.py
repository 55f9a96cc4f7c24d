"""Fuzz: python -m tests.fuzz --rpc 1000000 --avro 1000000 --records 1000000 --from 0 (`make fuzz`)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from indexer import native
from tests.fuzz.avro import AvroFuzz
from tests.fuzz.records import RecordsFuzz
from tests.fuzz.rpc import RpcFuzz
from tests.fuzz.run import run

_SHOWN = 10


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rpc", type=int, default=1_000_000, help="mutated answers")
    parser.add_argument("--avro", type=int, default=1_000_000, help="mutated records of blocks")
    parser.add_argument("--records", type=int, default=1_000_000, help="mutated records of other kinds")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    args = parser.parse_args()
    compiled = native.load("auto")
    with tempfile.TemporaryDirectory(prefix="indexer-fuzz-") as folder:
        rpc, avro = RpcFuzz.of_chains(Path(folder), compiled), AvroFuzz.of_chains(Path(folder), compiled)
    say(f"seeds from {args.first}; {len(avro.originals)} blocks; compiled code: {compiled is not None}")
    failed = False
    for name, judge, items in (
        ("rpc", rpc.judge, args.rpc),
        ("avro", avro.judge, args.avro),
        ("records", RecordsFuzz(avro.records).judge, args.records),
    ):
        report = run(name, judge, items, args.first)
        say("\n".join([f"{name}: {report}", *report.wrong[:_SHOWN]]))
        failed = failed or bool(report.wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
