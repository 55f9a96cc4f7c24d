"""What is planted at every stage of the way, and the code of the one letter that must come of it; pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from indexer.checksum import sealed
from indexer.codec import block_key, encode_block, encode_rollback, encode_work_item
from indexer.deadletter import ORIGIN
from indexer.limits import HIGHEST
from indexer.records import BlockWorkItem, Rollback
from indexer.topics import DECODED, DLQ, EVENTS, RETRY, WORK, Topics, partition_of
from tests.support.blocks import BlockMaker
from tests.support.following import CHAIN_ID
from tests.support.kafka_topics import Headers

OTHER_CHAIN = CHAIN_ID + 1
FAR = 1_000_000  # a height that no run comes to: its letter marks no block of ours as dead
_KEY = b"poison"  # names no block
_make = BlockMaker(chain_id=CHAIN_ID)


@dataclass(frozen=True, slots=True)
class Poison:
    role: str
    partition: int
    value: bytes
    code: str | None  # of its letter; None: nobody reads it
    key: bytes = _KEY
    headers: Headers = ()


def poison(kind: str, chance: int, topics: Topics, now_ms: int) -> Poison:
    """Return what a fault of the plan plants; `chance` chooses how it is wrong, and where it lies."""
    return _STAGES[kind](chance, topics, now_ms)


def _on_work(chance: int, topics: Topics, now_ms: int) -> Poison:
    value, code = _no_item(chance // 64)
    return Poison(WORK[chance % 3], _any(chance, topics), value, code)


def _on_retry(chance: int, topics: Topics, now_ms: int) -> Poison:
    value, code = _no_item(chance // 64)
    headers: tuple[Headers, ...] = (
        (),
        (("x-retry-due", b"soon"), ("x-retry-attempts", b"-1")),
        (("x-retry-due", b"%d" % (now_ms + 3000)), (ORIGIN, b"nonsense")),
    )
    return Poison(RETRY[chance % 3], _any(chance, topics), value, code, headers=headers[chance // 8 % 3])


def _on_decoded(chance: int, topics: Topics, now_ms: int) -> Poison:
    here, there = _of_a_block(chance, topics)
    block = encode_block(_make(here))
    elsewhere, seal = (there + 1) % topics[DECODED].partitions, sealed((), block)
    ways = (
        Poison(DECODED, elsewhere, b"\0garbage %d" % chance, "UNKNOWN_SCHEMA_ID"),
        Poison(DECODED, elsewhere, b"", "NOT_AVRO"),
        Poison(DECODED, there, block[: len(block) // 2], "NOT_AVRO"),
        Poison(DECODED, there, block[:-1] + bytes([block[-1] ^ 1]), "CHECKSUM_MISMATCH", headers=seal),
        Poison(DECODED, elsewhere, encode_rollback(Rollback(OTHER_CHAIN, 1, 1)), "OTHER_CHAIN"),
        Poison(DECODED, elsewhere, block, "WRONG_PARTITION", headers=seal),
        Poison(DECODED, there, block, "RECORD_NOT_GENUINE"),
    )
    return ways[chance // 64 % len(ways)]


def _refused(chance: int, topics: Topics, now_ms: int) -> Poison:
    """A block that can be read, in its place, whose rows the database refuses: two logs of one index."""
    number, partition = _of_a_block(chance, topics)
    block = _make(number, generation=2 * now_ms)  # above every fork's: else it is refused before its rows are tried
    block.logs.log_index = [0, 0, *range(1, len(block.logs.log_index) - 1)]
    block.undecoded_logs = []
    value = encode_block(block)
    return Poison(DECODED, partition, value, "ROW_REFUSED", block_key(CHAIN_ID, number), sealed((), value))


def _among_letters(chance: int, topics: Topics, now_ms: int) -> Poison:
    torn = (("x-dlq-origin-topic", b"gone"), ("x-dlq-origin-offset", b"nonsense"), ("x-dlq-attempts", b"\xff"))
    value = b"\0garbage %d" % chance
    return Poison(DLQ, _any(chance, topics), value, "UNKNOWN", headers=torn if chance // 8 % 2 else ())


def _among_outcomes(chance: int, topics: Topics, now_ms: int) -> Poison:
    return Poison(EVENTS, chance % topics[EVENTS].partitions, b"\0garbage %d" % chance, None)


def _no_item(chance: int) -> tuple[bytes, str]:
    item = encode_work_item(BlockWorkItem(CHAIN_ID, FAR))
    values = (
        (b"\0garbage %d" % chance, "UNKNOWN_SCHEMA_ID"),
        (b"", "NOT_AVRO"),
        (item[:-1], "NOT_AVRO"),
        (encode_work_item(BlockWorkItem(OTHER_CHAIN, 1)), "OTHER_CHAIN"),
        (encode_work_item(BlockWorkItem(CHAIN_ID, HIGHEST)), "IMPOSSIBLE_NUMBER"),
    )
    return values[chance % len(values)]


def _any(chance: int, topics: Topics) -> int:
    return chance % topics[DECODED].partitions


def _of_a_block(chance: int, topics: Topics) -> tuple[int, int]:
    """Return a far height and its partition."""
    number = FAR + chance % 1000
    return number, partition_of(number, topics[DECODED].partitions)


_STAGES: dict[str, Callable[[int, Topics, int], Poison]] = {
    "garbage on a work topic": _on_work,
    "garbage on a retry topic": _on_retry,
    "garbage on the decoded topic": _on_decoded,
    "a block that the database refuses": _refused,
    "garbage among the dead letters": _among_letters,
    "garbage among the outcomes": _among_outcomes,
}
POISON = tuple(_STAGES)
