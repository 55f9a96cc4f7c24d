"""The reference names every proof and every code that a block can be refused with."""

from __future__ import annotations

import re
from pathlib import Path

from indexer.records import Proof

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs" / "reference" / "verification.md").read_text()


def test_every_proof_is_explained_with_its_bit() -> None:
    for proof in Proof:
        assert f"| `{proof.name}` | {proof.value} |" in PAGE


def test_every_code_is_explained() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "indexer" / "chain").glob("*.py"))
    codes = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', sources)) - {"VERIFICATION_FAILED"}

    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
