"""Which bits of `job_coverage` a batch sets; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from indexer.records import Reason
from indexer.topics import STRIPE
from services.persister.packed import PackedBlock

_SIGN = 1 << 63
EVERY_JOB = -1


@dataclass(slots=True)
class Bits:
    """Masks as three arrays of one length, as PostgreSQL's `unnest` takes them; job -1: every job but repairs."""

    stripes: list[int] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)  # bigint: the highest height of a stripe is the sign


def stored_bits(blocks: Iterable[PackedBlock]) -> Bits:
    """Return the bits of blocks that are stored now.

    - a block counts for every job that wants its height
    - a repair job counts only its own repairs: that a block was stored before it asked is no repair
    """
    masks: dict[tuple[int, int], int] = {}
    for block in blocks:
        stripe, at = divmod(block.number, STRIPE)
        masks[stripe, EVERY_JOB] = masks.get((stripe, EVERY_JOB), 0) | 1 << at
        if block.reason is Reason.REPAIR and block.job_id is not None:
            masks[stripe, block.job_id] = masks.get((stripe, block.job_id), 0) | 1 << at
    return _bits(masks)


def bits_of(heights: Iterable[tuple[int, int]]) -> Bits:
    """Return the bits of (height, job) pairs."""
    masks: dict[tuple[int, int], int] = {}
    for number, job in heights:
        stripe, at = divmod(number, STRIPE)
        masks[stripe, job] = masks.get((stripe, job), 0) | 1 << at
    return _bits(masks)


def _bits(masks: dict[tuple[int, int], int]) -> Bits:
    bits = Bits()
    for (stripe, job), mask in sorted(masks.items()):
        bits.stripes.append(stripe)
        bits.jobs.append(job)
        bits.masks.append(mask - 2 * _SIGN if mask & _SIGN else mask)
    return bits
