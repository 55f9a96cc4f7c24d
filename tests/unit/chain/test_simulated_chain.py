"""devchain builds hashes and roots with code of its own: its blocks are proven, so two implementations agree."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from devchain.build import open_chain
from devchain.params import ChainParams
from devchain.store import Slice
from indexer.chain.parse import parse_block
from indexer.chain.rules import rules_for
from indexer.chain.verify import verify
from indexer.records import Proof


def loaded(answer: Slice | bytes | None) -> object:
    assert answer is not None
    return orjson.loads(os.pread(answer.fd, answer.size, answer.offset) if isinstance(answer, Slice) else answer)


@pytest.mark.parametrize("ethereum", [False, True])
def test_blocks_of_a_simulated_chain_are_proven(tmp_path: Path, ethereum: bool) -> None:
    params = ChainParams(profile="mixed", blocks=40, ethereum=ethereum)
    rules = rules_for(params.chain_id)
    chain = open_chain(params, tmp_path, jobs=1)

    for number in range(params.blocks + 1):
        columns = parse_block(loaded(chain.block(number)), loaded(chain.receipts(number)), rules)  # type: ignore[arg-type]
        assert verify(*columns, rules, mode="senders") | Proof.SENDERS_SAMPLE == ~Proof(0)
