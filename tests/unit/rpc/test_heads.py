"""What a node says of a block's place in the chain."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.errors import TransientError
from indexer.records import BlockRef
from indexer.rpc.answers import Failure, Kind
from indexer.rpc.heights import ref_of

HASH, PARENT = "0x" + "ab" * 32, "0x" + "cd" * 32


def told(**changes: Any) -> dict[str, Any]:
    return {"number": "0x10", "hash": HASH, "parentHash": PARENT, **changes}


def test_a_header_is_number_hash_and_parent() -> None:
    assert ref_of(16, told()) == BlockRef(16, b"\xab" * 32, b"\xcd" * 32)


@pytest.mark.parametrize(
    "answer",
    [None, Failure(Kind.NOT_YET, "NOT_YET", "unfinalized"), Failure(Kind.MISSING, "RPC_MISSING", "unknown block")],
)
def test_what_the_node_does_not_have_is_no_failure(answer: Any) -> None:
    assert ref_of(16, answer) is None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Failure(Kind.TIMEOUT, "RPC_TIMEOUT", "too late"), "RPC_TIMEOUT"),
        (told(number="0x11"), "RPC_MALFORMED"),
        (told(hash="0x12"), "RPC_MALFORMED"),
        (told(parentHash=None), "RPC_MALFORMED"),
        ("no block", "RPC_MALFORMED"),
        ({}, "RPC_MALFORMED"),
    ],
)
def test_anything_else_is_asked_for_again(answer: Any, code: str) -> None:
    with pytest.raises(TransientError) as failed:
        ref_of(16, answer)

    assert failed.value.code == code
