"""Expected − stored − dead: what of a span of heights nobody can explain; pure.

Sets of heights are integers: bit i is height start + i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.audit.findings import Findings, Kind, ranges_of

_LIVE = ("queued", "running", "paused", "cancelling")
_REPAIR = "repair"


@dataclass(slots=True)
class JobSpan:
    """What one job asks for and counts within a span."""

    id: int
    state: str
    reason: str
    asked: int = 0  # by its ranges, or by rows of job_coverage (the head's)
    opened: int = 0  # has a row in job_coverage
    stored: int = 0
    dead: int = 0

    @property
    def is_live(self) -> bool:
        return self.state in _LIVE

    @property
    def unresolved(self) -> int:
        return self.asked & ~(self.stored | self.dead)


@dataclass(frozen=True, slots=True)
class Span:
    """All that the database says about some neighbouring heights."""

    start: int
    jobs: Sequence[JobSpan]
    stored: int  # rows in blocks
    letters: int  # letters that wait: open, replayed, quarantined
    dropped: int  # letters that an operator dropped
    named: int = 0  # heights that the user named: expected even if no job asks


def account(span: Span, findings: Findings) -> int:
    """Note what is wrong and what is open; return how many heights are expected.

    - a live job has not resolved it: open, whatever else is said about the height
    - counted as stored, or asked for by a job that is done, and not there: missing
    - counted as dead: open while its letter waits or was dropped by somebody, else dead without letter
    - there, but a job that is done does not count it: not counted (repairs count only their own)
    - asked for by a cancelled job only: open
    - named by the user and asked for by nobody: not asked for
    """
    coming = expected = 0
    for job in span.jobs:
        if job.is_live:
            coming |= job.unresolved & ~span.stored
        if job.state != "cancelled":
            expected |= job.asked
    for job in span.jobs:
        _explain(span, job, findings)
        if job.state != "cancelled":
            _doubt(span, job, coming, findings)
    asked = coming
    for job in span.jobs:
        asked |= job.asked
    nobody = span.named & ~asked & ~span.stored & ~span.letters
    _note(span, findings, Kind.NOT_ASKED, nobody, "")
    return (expected | span.named).bit_count()


def _explain(span: Span, job: JobSpan, findings: Findings) -> None:
    left = job.asked & ~span.stored
    waits, dropped = left & span.letters, left & span.dropped & ~span.letters
    rest = left & job.unresolved & ~waits & ~dropped
    reasons = [("its dead letter waits", waits), ("its dead letter was dropped", dropped)]
    if job.is_live:
        reasons += [(f"{job.state}, not published yet", rest & ~job.opened), (_under_way(job), rest & job.opened)]
    elif job.state == "cancelled":
        reasons.append(("the job was cancelled", rest))
    for why, mask in reasons:
        for first, last in ranges_of(mask, span.start):
            findings.explain(job.id, why, first, last)


def _under_way(job: JobSpan) -> str:
    return "published, not stored yet" if job.state == "running" else f"{job.state}, published before"


def _doubt(span: Span, job: JobSpan, coming: int, findings: Findings) -> None:
    gone = job.asked & ~span.stored & ~coming & ~span.letters & ~span.dropped
    done = job.state == "done"
    missing = gone & ~job.dead & (job.stored | (job.asked if done else 0))
    _note(span, findings, Kind.MISSING, missing, f"of job {job.id}, which is {job.state}")
    _note(span, findings, Kind.LETTERLESS, gone & job.dead, f"of job {job.id}")
    if done and job.reason != _REPAIR:
        _note(span, findings, Kind.UNCOUNTED, job.asked & span.stored & ~job.stored, f"of job {job.id}")


def _note(span: Span, findings: Findings, kind: Kind, mask: int, more: str) -> None:
    for first, last in ranges_of(mask, span.start):
        heights = f"block {first}" if first == last else f"blocks {first}–{last}"
        findings.at(kind, first, last, f"{heights} {more}".rstrip())
