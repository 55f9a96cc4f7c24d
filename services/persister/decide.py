"""What to do with a block, given what is stored at its height (PROTOCOL 1); pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from indexer.records import Reason
from services.persister.packed import PackedBlock


class Verdict(Enum):
    STORE = "store"  # nothing is stored at its height
    KEEP = "keep"  # it is stored: bits, and perhaps a higher generation
    REPLACE = "replace"  # what is stored goes, it comes
    REFUSE = "refuse"  # no rows, no bits, no letter


@dataclass(frozen=True, slots=True)
class Stored:
    """What identifies a stored block."""

    hash: bytes
    generation: int
    model_version: int


@dataclass(slots=True)
class Plan:
    """What a sequence of blocks comes to, one entry per height."""

    insert: dict[int, PackedBlock] = field(default_factory=dict)
    delete: set[int] = field(default_factory=set)  # heights whose rows in the database go first
    raise_generation: dict[int, int] = field(default_factory=dict)  # of rows in the database that stay
    covered: list[PackedBlock] = field(default_factory=list)  # whose bits are set
    refused: list[PackedBlock] = field(default_factory=list)


def floor_of(number: int, rollbacks: Iterable[tuple[int, int]]) -> int:
    """Return the highest generation among (from, generation) with from ≤ number, 0 without one."""
    return max((generation for start, generation in rollbacks if start <= number), default=0)


def decide(block: PackedBlock, stored: Stored | None, floor: int) -> Verdict:
    """Return the fate of one block.

    - of a generation below the floor: REFUSE (it would fill the slot that a rollback emptied)
    - nothing stored at its height: STORE
    - its hash stored: KEEP
    - its hash stored, and it is a repair: REPLACE
    - its hash stored by an older model version: REPLACE
    - another hash stored, and its generation is higher: REPLACE
    - another hash stored, a repair of the same generation: REPLACE
    - another hash stored otherwise: REFUSE
    """
    repair = block.reason is Reason.REPAIR
    if block.generation < floor:
        return Verdict.REFUSE
    if stored is None:
        return Verdict.STORE
    if stored.hash == block.hash:
        return Verdict.REPLACE if repair or block.model_version > stored.model_version else Verdict.KEEP
    if block.generation > stored.generation or (repair and block.generation == stored.generation):
        return Verdict.REPLACE
    return Verdict.REFUSE


def plan(blocks: Iterable[PackedBlock], stored: Mapping[int, Stored], rollbacks: Collection[tuple[int, int]]) -> Plan:
    """Decide about blocks in the order of their records.

    - several of one height: each is decided against what the one before left
    - a height inserted twice gets the rows of the last one only
    - rows in the database that are replaced are deleted once, whatever follows
    - a repair deletes also where no block is stored: rows without their block would be in its way
    - a replaced row of the same hash keeps the higher generation
    """
    result = Plan()
    now: dict[int, Stored] = dict(stored)
    for block in blocks:
        number = block.number
        before = now.get(number)
        verdict = decide(block, before, floor_of(number, rollbacks))
        if verdict is Verdict.REFUSE:
            result.refused.append(block)
            continue
        result.covered.append(block)
        if before is not None and before.hash == block.hash:
            block.generation = max(block.generation, before.generation)
        if verdict is Verdict.KEEP:
            assert before is not None
            _keep(result, number, block.generation, before)
            now[number] = Stored(before.hash, block.generation, before.model_version)
            continue
        if number in stored or block.reason is Reason.REPAIR:
            result.delete.add(number)
            result.raise_generation.pop(number, None)
        result.insert[number] = block
        now[number] = Stored(block.hash, block.generation, block.model_version)
    return result


def _keep(result: Plan, number: int, generation: int, before: Stored) -> None:
    if generation <= before.generation:
        return
    if number in result.insert:
        result.insert[number].generation = generation
    else:
        result.raise_generation[number] = generation
