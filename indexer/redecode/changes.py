"""What decoding a stored block again changes, and what that does to balances; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from indexer.abi.decode import Decoded
from indexer.audit.rows import Decoding, StoredBlock, attention_of, differing, transfers_of

Key = tuple[bytes, int, bytes]  # token address, token id, holder

_NOBODY = bytes(20)


class Fate(Enum):
    SAME = "its rows and its model version are what they ought to be"
    NEWER = "newer models have decoded it: ours must not"
    MARK = "its rows are right, only its model version is older"
    REWRITE = "its derived rows change"


@dataclass(frozen=True, slots=True)
class Redecoded:
    """New derived rows of one block; `hash` and `stored_at` say which rows they were made from."""

    number: int
    hash: bytes
    stored_at: Any
    rewrite: bool  # False: only the model version
    decoded: Decoded
    attention: list[tuple[int, str, list[int]]]


def redecode(block: StoredBlock, decoding: Decoding) -> tuple[Fate, Redecoded | None]:
    """Return what is to be done about a block, and its new rows where something is to be written."""
    version = decoding.models.version
    if block.model_version > version:
        return Fate.NEWER, None
    decoded = decoding.decode(block)
    rewrite = bool(differing(block, decoded, ours=True))
    if not rewrite and block.model_version == version:
        return Fate.SAME, None
    attention = attention_of(block.logs, decoded.undecoded)
    header = block.header
    new = Redecoded(header.number, header.hash, block.stored_at, rewrite, decoded, attention)
    return (Fate.REWRITE if rewrite else Fate.MARK), new


def deltas(gone: Iterable[tuple[bytes, int, bytes, bytes, int]], come: Iterable[Redecoded]) -> dict[Key, int]:
    """Return the changes of balances, without zeros, in key order.

    `gone`: (token, id, from, to, amount) of the transfers that were deleted.
    """
    found: dict[Key, int] = {}

    def move(token: bytes, token_id: int, sender: bytes, receiver: bytes, amount: int) -> None:
        for holder, change in ((sender, -amount), (receiver, amount)):
            if holder != _NOBODY:
                key = (token, token_id, holder)
                found[key] = found.get(key, 0) + change

    for token, token_id, sender, receiver, amount in gone:
        move(token, token_id, receiver, sender, amount)
    for block in come:
        for _, _, token, sender, receiver, _, _, token_id, amount in transfers_of(block.decoded.token_transfers):
            move(token, token_id, sender, receiver, amount)
    return {key: found[key] for key in sorted(found) if found[key]}
