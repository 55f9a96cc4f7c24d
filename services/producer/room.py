"""Which of the waiting jobs a producer takes now, so that the ranges in its memory stay within a bound. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from indexer.jobs.ranges import MOST_RANGES

SMALL = 1_000  # ranges of a job that may pass by a large one that waits
_MOST = {True: 25 * SMALL, False: MOST_RANGES}  # of all small jobs together, and of all others


def chosen(waiting: Sequence[tuple[int, int | None]], held: Iterable[int], places: int) -> list[int]:
    """Return the ids to take of `waiting`, (id, ranges) by urgency, beside jobs of `held` ranges each.

    Small jobs and large ones have room of their own, and in each kind nobody passes by: neither keeps the other, or a
    larger one of its kind, waiting for ever. The first of a kind always fits. None is a large job not counted yet.
    """
    used, full, taken = {True: 0, False: 0}, set(), list[int]()
    for ranges in held:
        used[ranges <= SMALL] += ranges
    for job_id, count in waiting:
        small = count is not None and count <= SMALL
        if len(taken) == places or small in full:
            continue
        if count is None or (used[small] and used[small] + count > _MOST[small]):
            full.add(small)
            continue
        used[small] += count
        taken.append(job_id)
    return taken
