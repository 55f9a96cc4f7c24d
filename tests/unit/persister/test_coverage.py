"""Bits of heights: 64 to a row, the lowest height is the rightmost bit."""

from __future__ import annotations

from typing import Any

from indexer.records import Reason
from services.persister.coverage import EVERY_JOB, bits_of, stored_bits
from services.persister.packed import PackedBlock, packed
from tests.support.blocks import BlockMaker

maker = BlockMaker(transactions=0, logs=0, transfers=0)


def make(number: int, **how: Any) -> PackedBlock:
    return packed(maker(number, **how))


def test_heights_of_a_stripe_share_a_mask() -> None:
    bits = stored_bits([make(64), make(66), make(130)])

    assert (bits.stripes, bits.masks, bits.jobs) == ([1, 2], [0b101, 0b100], [EVERY_JOB, EVERY_JOB])


def test_the_highest_height_of_a_stripe_is_the_sign() -> None:
    assert stored_bits([make(63)]).masks == [-(2**63)]
    assert stored_bits([make(n) for n in range(64)]).masks == [-1]


def test_a_repair_counts_for_every_job_and_for_its_own() -> None:
    bits = stored_bits([make(1, job_id=9, reason=Reason.REPAIR), make(2, job_id=8)])

    assert list(zip(bits.stripes, bits.jobs, bits.masks, strict=True)) == [(0, EVERY_JOB, 0b110), (0, 9, 0b10)]


def test_heights_can_be_given_per_job() -> None:
    bits = bits_of([(1, 7), (3, 7), (1, 8)])

    assert list(zip(bits.stripes, bits.jobs, bits.masks, strict=True)) == [(0, 7, 0b1010), (0, 8, 0b10)]
