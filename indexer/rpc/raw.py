"""Blocks and receipts as the bytes that a node sent: cut out of its answer, and not read by anybody yet.

The cutting is compiled code's (native/src/answers.rs). It takes strict JSON only, and answers in which everything that
was asked for is there; for any other it gives None, and the answer is read at once, as it is without compiled code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = "dict[str, Any]"
Cut = tuple[bytes, bytes | None, int]
Split = Callable[[bytes, int, int], list[Cut] | None]
"""The body of an answer, the id of its first call and the number of calls → the results in the order of the calls."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A block with its transactions, or a list of receipts.

    `outline`: a block's own members, its list of transactions empty; `count`: of transactions, or of receipts.
    """

    json: bytes
    outline: Json | None
    count: int


def raw_answers(
    body: bytes | bytearray | memoryview, first_id: int, count: int, split: Split
) -> list[RawAnswer] | None:
    """Return the results of a batch; None where it is to be read, and judged, as any other answer."""
    cuts = split(bytes(body), first_id, count)
    if cuts is None:
        return None
    return [RawAnswer(json, None if own is None else orjson.loads(own), items) for json, own, items in cuts]


def loaded(answer: Any) -> Any:
    """Return what the node said, read if it is not yet."""
    return orjson.loads(answer.json) if isinstance(answer, RawAnswer) else answer


def outlined(block: Json | RawAnswer) -> Any:
    """Return a block's own members; its transactions need not be there."""
    return block.outline if isinstance(block, RawAnswer) else block


def as_json(answer: Any) -> bytes:
    """Return the bytes of an answer, written again if it was read; nothing where it is nested too deeply for that."""
    if isinstance(answer, RawAnswer):
        return answer.json
    try:
        return orjson.dumps(answer)
    except TypeError:
        return b""


def transactions_of(block: Any) -> int:
    """Return the number of a block's transactions, 0 where they are no list."""
    if isinstance(block, RawAnswer):
        return block.count
    transactions = block.get("transactions")
    return len(transactions) if type(transactions) is list else 0
