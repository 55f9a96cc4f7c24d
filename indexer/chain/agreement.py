"""Whether the answers of a node speak of the same block, transaction and position.

Compared as text first, which is enough for every client that writes canonical hex and costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from indexer.chain.errors import VerificationError
from indexer.chain.fields import LONG, integers

Json: TypeAlias = "dict[str, Any]"

_INDEXES = [hex(index) for index in range(4096)]  # as nodes write them
_place = itemgetter("blockHash", "blockNumber")


def refuse(code: str, block: Json, what: str) -> VerificationError:
    """Return the error for answers of `block` that do not fit together."""
    return VerificationError(f"block {int(block['number'], 16)}: {what}", code=code)


def check_place(block: Json, items: Sequence[Json], what: str) -> None:
    """Check that all items name this block."""
    own_hash, own_number = block["hash"], block["number"]
    places = set(map(_place, items))
    if places == {(own_hash, own_number)}:
        return
    for hash_, number in places:
        if hash_.lower() != own_hash.lower():
            raise refuse("BLOCK_HASH_DISAGREES", block, f"a {what} is of another block")
        if int(number, 16) != int(own_number, 16):
            raise refuse("BLOCK_NUMBER_DISAGREES", block, f"a {what} is of another height")


def check_count(indexes: Sequence[str], block: Json, code: str, what: str) -> None:
    """Check that indexes count up from zero."""
    count = len(indexes)
    if count <= len(_INDEXES) and list(indexes) == _INDEXES[:count]:
        return
    if integers(indexes, LONG) != list(range(count)):
        raise refuse(code, block, f"the {what} indexes do not count up from 0")


def check_owners(indexes: Sequence[str], owners: list[int], block: Json) -> None:
    """Check that each log names the transaction in whose receipt it is."""
    if owners[-1] < len(_INDEXES) and list(indexes) == [_INDEXES[owner] for owner in owners]:
        return
    if integers(indexes, LONG) != owners:
        raise refuse("TRANSACTION_INDEX_DISAGREES", block, "a log is in the receipt of another transaction")


def check_hashes(told: Sequence[str], expected: list[str], block: Json, what: str) -> None:
    """Check that receipts or logs are of these transactions."""
    if list(told) != expected and _lower(told) != _lower(expected):
        raise refuse("TRANSACTION_HASH_DISAGREES", block, f"a {what} is of another transaction")


def _lower(values: Iterable[str]) -> list[str]:
    return [value.lower() for value in values]
