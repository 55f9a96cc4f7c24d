"""What indexer/storage/jobs.py says of jobs, on the tables in memory: the same functions (PROTOCOL 11–13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from indexer.jobs.ranges import Ranges, Stripe
from indexer.storage.jobs import Lease, NewJob, signed
from indexer.topics import STRIPE
from tests.simulation.database import Row, Session, first
from tests.simulation.of_follower import LIVE, want

__all__ = ["NewJob", "signed"]

LOOKED = "between the look at what is stored and the row of the stripe"


@dataclass(frozen=True, slots=True)
class Status:
    stored: int
    dead: int
    total: int


def create_job(s: Session, job: NewJob) -> int:
    blocks = {n for first, past in job.blocks.pairs for n in range(first, past)}
    return int(s.run(lambda s, p: [(_enter(s, blocks, job.reason, None),)]).fetchone()[0])


def follow(s: Session, first: int) -> int:
    """Queue the job that follows the chain."""
    return int(s.run(lambda s, p: [(_enter(s, set(), "head", {"next": first}),)]).fetchone()[0])


def _enter(s: Session, blocks: set[int], reason: str, position: dict[str, int] | None) -> int:
    job = s.db.new_id("processing_jobs")
    s.put("processing_jobs", job, {
        "state": "queued", "reason": reason, "blocks": blocks, "position": position, "exhausted": False,
        "owner": None, "epoch": 0, "until": None, "published": 0,
    })  # fmt: skip
    return job


def waiting(s: Session, chain_id: int, known: Sequence[int]) -> list[tuple[int, int]]:
    """All jobs are small here. To find none and to take some is one place at which a seed may strike."""
    found = [(job, 1) for job, _ in s.run(lambda s, p: _free(s)).rows]
    if not found:
        s.fault("taking leases")
    return found


def _free(s: Session) -> list[tuple[int, Row]]:
    return [
        (job, row)
        for job, row in sorted(s.items("processing_jobs"), key=first)
        if row["reason"] != "head"
        and row["state"] in ("queued", "running", "cancelling")
        and (row["until"] is None or row["until"] < s.db.now())
    ]


def take_leases(s: Session, chain_id: int, owner: str, seconds: float, most: int, among: Sequence[int]) -> list[int]:
    def take(s: Session, p: Any) -> list[int]:
        taken = []
        for job, row in _free(s):
            if job in among:
                state = "running" if row["state"] == "queued" else row["state"]
                s.change("processing_jobs", job, owner=owner, epoch=row["epoch"] + 1, until=s.db.now() + seconds,
                         state=state)  # fmt: skip
                taken.append(job)
        return taken[:most]

    s.fault("taking leases")
    return s.run(take).rows


def renew_lease(s: Session, job_id: int, owner: str, epoch: int | None, seconds: float) -> Lease | None:
    def renew(s: Session, p: Any) -> list[Lease]:
        row = s.get("processing_jobs", job_id)
        if row is None or row["owner"] != owner or epoch not in (None, row["epoch"]) or row["state"] not in LIVE:
            return []
        state = "running" if row["state"] == "queued" else row["state"]
        s.change("processing_jobs", job_id, until=s.db.now() + seconds, state=state)
        chain = s.get("chain_state", 0)
        return [Lease(
            id=job_id, lease_epoch=row["epoch"], state=state, priority="normal", strategy="earliest",
            reason=row["reason"], batch_size=100, window_blocks=256, rate=None, position=row["position"],
            exhausted=row["exhausted"], generation=chain["generation"] if chain else 0, published=row["published"],
            under_way=under_way(s, job_id),
        )]  # fmt: skip

    s.fault("renewing a lease")
    found: Lease | None = s.run(renew).fetchone()
    return found


def release_lease(s: Session, job_id: int, owner: str, epoch: int) -> None:
    def release(s: Session, p: Any) -> None:
        row = s.get("processing_jobs", job_id)
        if row is not None and (row["owner"], row["epoch"]) == (owner, epoch):
            s.change("processing_jobs", job_id, owner=None, until=None)

    s.run(release)


def job_blocks(s: Session, job_id: int) -> Ranges:
    row = s.get("processing_jobs", job_id)
    assert row is not None
    return Ranges.of((n, n + 1) for n in row["blocks"])


def open_stripes(
    s: Session, lease: Lease, owner: str, chain_id: int, stripes: Sequence[Stripe], position: Any
) -> list[Stripe] | None:
    with s.transaction():
        s.lock("processing_jobs", lease.id)
        row = s.get("processing_jobs", lease.id)
        if row is None or (row["owner"], row["epoch"]) != (owner, lease.lease_epoch):
            return None
        more = row["published"] + sum(stripe.blocks for stripe in stripes)
        s.change("processing_jobs", lease.id, position=position, exhausted=position is None, published=more)
        left = [_open_stripe(s, lease, stripe) for stripe in stripes]
    return [stripe for stripe in left if stripe.wanted]


def _open_stripe(s: Session, lease: Lease, stripe: Stripe) -> Stripe:
    stored = 0
    for number in stripe.heights():
        if (lease.reason != "repair" or not s.db.rules("12 skip")) and s.get("blocks", number) is not None:
            if s.db.rules("12 lock"):
                s.lock("blocks", number)
            stored |= 1 << number % STRIPE
    s.fault(LOOKED)
    row = want(s, lease.id, stripe.number, stripe.wanted, stored)
    return Stripe(stripe.number, row["wanted"] & ~(row["stored"] | row["dead"]))


def unpublished(s: Session, job_id: int) -> list[Stripe]:
    return [_missing(stripe, row) for stripe, row in _of_job(s, job_id) if row["published_at"] is None]


def overdue(s: Session, job_id: int, older_than_seconds: float) -> list[Stripe]:
    before = s.db.now() - older_than_seconds
    if not s.db.rules("11 again"):
        return []
    return [
        _missing(stripe, row)
        for stripe, row in _of_job(s, job_id)
        if row["published_at"] is not None and row["published_at"] < before and _missing(stripe, row).wanted
    ]


def mark_published(s: Session, job_id: int, stripes: Sequence[int]) -> None:
    def mark(s: Session, p: Any) -> None:
        for stripe in stripes:
            s.change("job_coverage", (job_id, stripe), published_at=s.db.now())

    s.fault("noting what is published")
    s.run(mark)


def under_way(s: Session, job_id: int) -> int:
    return sum(_missing(stripe, row).blocks for stripe, row in _of_job(s, job_id))


def job_status(s: Session, chain_id: int, job_id: int) -> Status:
    rows = [row for _, row in _of_job(s, job_id)]
    stored, dead = (sum(row[name].bit_count() for row in rows) for name in ("stored", "dead"))
    job = s.get("processing_jobs", job_id)
    return Status(stored, dead, len(job["blocks"]) if job else 0)


def finish_job(s: Session, lease: Lease, owner: str, state: str, message: str) -> bool:
    def finish(s: Session, p: Any) -> int:
        s.lock("job_ends", lease.id)
        s.lock("processing_jobs", lease.id)
        row = s.get("processing_jobs", lease.id)
        if row is None or (row["owner"], row["epoch"], row["state"]) != (owner, lease.lease_epoch, lease.state):
            return 0
        if under_way(s, lease.id):
            return 0
        s.change("processing_jobs", lease.id, state=state, owner=None, until=None)
        return 1

    s.fault("finishing a job")
    return s.run(finish).rowcount > 0


def _of_job(s: Session, job_id: int) -> list[tuple[int, Row]]:
    found = [(key[1], row) for key, row in s.items("job_coverage") if key[0] == job_id]
    return sorted(found, key=lambda pair: pair[0])


def _missing(stripe: int, row: Row) -> Stripe:
    return Stripe(stripe, row["wanted"] & ~(row["stored"] | row["dead"]))
