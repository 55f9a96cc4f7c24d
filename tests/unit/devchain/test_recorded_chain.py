"""Recorded blocks are served as they were recorded."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from devchain.recorded import RecordedChain, RecordingError, read_lines
from tests.support.shared_data import shared_data


def record(number: int, *, chain_id: int = 1, receipts: bool = True, salt: int = 0) -> dict[str, Any]:
    """A recorded block with one transaction."""
    block_hash = f"0x{number * 1000 + salt:064x}"
    transaction = {"hash": f"0x{number * 1000 + salt + 1:064x}", "blockHash": block_hash}
    receipt = {"transactionHash": transaction["hash"], "logs": []}
    block = {"number": hex(number), "hash": block_hash, "transactions": [transaction]}
    return {"chain_id": chain_id, "block": block, "receipts": [receipt] if receipts else None}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    """Records as JSON lines, gzipped by the name."""
    text = b"\n".join(map(orjson.dumps, records))
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_plain_and_gzipped_files_make_one_chain(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.jsonl", [record(5)]), write(tmp_path / "b.jsonl.gz", [record(9)])]

    chain = RecordedChain(read_lines(files))

    assert (chain.chain_id, chain.head, chain.numbers) == (1, 9, [5, 9])
    assert orjson.loads(chain.block(5) or b"") == record(5)["block"]  # type: ignore[arg-type]  # bytes, never a Slice
    assert chain.block(6) is None
    assert chain.number_of((9000).to_bytes(32, "big")) == 9
    assert chain.transaction((9001).to_bytes(32, "big")) == (9, 0)


def test_of_several_chains_one_is_chosen() -> None:
    records = [record(5), record(7, chain_id=137)]

    assert RecordedChain(records, 137).head == 7
    with pytest.raises(RecordingError, match="1, 137"):
        RecordedChain(records)
    with pytest.raises(RecordingError):
        RecordedChain(records, 10)


def test_the_first_record_with_receipts_of_a_height_counts() -> None:
    chain = RecordedChain([record(5, receipts=False), record(5, salt=2), record(5, salt=4)])

    assert chain.receipts(5) is not None
    assert chain.number_of((5002).to_bytes(32, "big")) == 5


def test_a_block_without_receipts_has_none() -> None:
    chain = RecordedChain([record(5, receipts=False)])

    assert chain.block(5) is not None
    assert chain.receipts(5) is None
    assert chain.balance(b"", b"", None, 5) is None


@pytest.mark.parametrize("line", ["{", "[]", '{"block": null}', '{"block": {"number": 5}}'])
def test_a_line_that_is_no_block_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line)

    with pytest.raises(RecordingError, match=r"a\.jsonl, line 1"):
        list(read_lines([tmp_path / "a.jsonl"]))


def test_all_recorded_blocks_at_hand_can_be_served() -> None:
    files = sorted(shared_data().glob("blocks/*.jsonl.gz")) + sorted(shared_data().glob("negative/*.jsonl.gz"))
    records = list(read_lines(files))

    for chain_id in {r["chain_id"] for r in records}:
        chain = RecordedChain(records, chain_id)
        assert chain.numbers == sorted({int(r["block"]["number"], 16) for r in records if r["chain_id"] == chain_id})
        assert chain.block(chain.head) is not None
