"""The producer's loop: take leases, open stripes within the window, publish them, note what arrived.

A stripe goes through three states, so that a producer may die anywhere:

- recorded: its row in job_coverage is made, with the bits of what is stored already; published_at is NULL
- published: the brokers confirmed its items; published_at is set
- resolved: every wanted height is stored or dead; the persister sets these bits

Whoever takes a job over publishes again what is recorded and not published, and nothing that is stored. What stays
unresolved for `republish_seconds` while nothing lags was lost on the way and is published again (PROTOCOL 11).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from indexer.faults import hook
from indexer.jobs.ranges import Ranges, Stripe
from indexer.jobs.strategies import strategy
from indexer.limits import usable
from indexer.settings import Settings
from indexer.storage import jobs
from indexer.storage.jobs import Connection, Lease
from indexer.topics import DECODED, PERSISTER_GROUP, RETRY, WORK, partition_of
from services.producer.lag import LagReader
from services.producer.publisher import Publisher
from services.producer.room import SMALL, chosen
from services.producer.schedule import Allowance, Measured, stripes_now

log = logging.getLogger(__name__)

_HINT_SECONDS = 2.0  # how often the parked records are counted
_OVERDUE_SECONDS = 5.0  # how often lost items are looked for
_UNTOLD_SECONDS = 1.0  # how often it is looked for what a fork took back
_NOTE_SECONDS = 0.1  # how often a producer that is busy notes what has arrived
_IDLE_SECONDS = 0.1


@dataclass(slots=True)
class Held:
    """A job under our lease, and what of it is worth keeping between two looks."""

    lease: Lease
    blocks: Ranges
    allowance: Allowance = field(default_factory=Allowance)
    overdue_at: float = 0.0
    untold_at: float = 0.0
    warned: bool = False

    @property
    def ranges(self) -> int:
        return len(self.blocks.pairs)

    def warn_of_rate(self) -> None:
        """Say once that the job's row has a rate that cannot be kept: it must not end the other jobs' producer."""
        unusable = not usable(self.lease.rate)
        if unusable and not self.warned:
            log.warning("job %d: a rate of %s cannot be kept: no limit", self.lease.id, self.lease.rate)
        self.warned = unusable


class ProducerLoop:
    """One producer; several may run, each job has one at a time."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        publisher: Publisher,
        lag: LagReader,
        owner: str,
        partitions: int,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._connection, self._publisher, self._lag = settings, connection, publisher, lag
        self._owner, self._partitions, self._clock = owner, partitions, clock
        self._held: dict[int, Held] = {}
        self._parked, self._parked_at = 0, 0.0
        self._look_for_jobs_at = self._note_at = 0.0
        self._counted: dict[int, int] = {}  # the ranges of jobs that wait: they never change, and take time to count
        self._measured, self._stored = Measured(), 0

    def step(self) -> float:
        """Serve every job once; return how many seconds there is nothing to do."""
        self._take_jobs()
        published = False
        for held in list(self._held.values()):
            published |= self._serve(held)
        if not published or self._clock() >= self._note_at:
            self._note_confirmed()
        return 0.0 if published else _IDLE_SECONDS

    def close(self) -> None:
        """Wait for what is on its way, note it, and give the leases back; a database that is away is not waited for."""
        self._publisher.close()
        try:
            self._note_confirmed()
            for held in self._held.values():
                jobs.release_lease(self._connection, held.lease.id, self._owner, held.lease.lease_epoch)
        except psycopg.OperationalError as error:  # whoever takes the jobs over publishes again what is not noted
            log.warning("database: %s; ending without it, leases run out by themselves", type(error).__name__)
        self._held.clear()

    def reconnect(self, connection: Connection) -> None:
        self._connection = connection

    def _take_jobs(self) -> None:
        if self._clock() < self._look_for_jobs_at or len(self._held) >= self._settings.max_jobs:
            return
        self._look_for_jobs_at = self._clock() + 0.25
        wanted, seconds = self._fitting(), self._settings.lease_seconds
        if not wanted:
            return
        chain_id = self._settings.chain_id
        for job_id in jobs.take_leases(self._connection, chain_id, self._owner, seconds, len(wanted), wanted):
            lease = jobs.renew_lease(self._connection, job_id, self._owner, None, seconds)
            if lease is None:
                continue
            log.info("job %d: taken, %s", job_id, lease.state)
            needed = lease.state != "cancelling"
            held = self._held[job_id] = Held(lease, jobs.job_blocks(self._connection, job_id) if needed else Ranges(()))
            known = self._publisher.under_way(job_id)  # the job was ours before an outage outlasted its lease
            again = jobs.unpublished(self._connection, job_id)
            self._publish(held, [s for s in again if s.wanted and s.number not in known])
            jobs.mark_published(self._connection, job_id, [s.number for s in again if not s.wanted])

    def _fitting(self) -> list[int]:
        """Return the jobs to ask for: those that wait and whose ranges fit into memory beside what is held."""
        waiting = jobs.waiting(self._connection, self._settings.chain_id, list(self._counted))
        unknown = [job_id for job_id, ranges in waiting if ranges is None and job_id not in self._counted]
        if unknown:  # one at a look: the jobs that are held must not wait
            self._counted[unknown[0]] = jobs.range_count(self._connection, unknown[0])
        found = [(id_, self._counted.get(id_) if ranges is None else ranges) for id_, ranges in waiting]
        self._counted = {job_id: ranges for job_id, ranges in found if ranges is not None}
        places = self._settings.max_jobs - len(self._held)
        return chosen(found, [held.ranges for held in self._held.values()], places)

    def _serve(self, held: Held) -> bool:
        lease = jobs.renew_lease(
            self._connection, held.lease.id, self._owner, held.lease.lease_epoch, self._settings.lease_seconds
        )
        if lease is None:
            log.info("job %d: lease lost", held.lease.id)
            del self._held[held.lease.id]
            return False
        self._stored += max(lease.resolved - held.lease.resolved, 0)
        held.lease = lease
        self._measured.note(self._clock(), self._stored)
        self._publish_again_what_is_lost(held)
        if lease.state == "running" and not lease.exhausted:
            return self._open(held)
        if lease.state != "paused":
            self._finish(held)
        elif held.ranges > SMALL:
            self._give_back(held)
        return False

    def _open(self, held: Held) -> bool:
        lease = held.lease
        held.warn_of_rate()
        most = stripes_now(lease.window_blocks, lease.under_way, self._parked_now(), self._partitions, lease.batch_size)
        if lease.followed:
            most = min(most, self._measured.room(sum(each.lease.under_way for each in self._held.values())))
        most = held.allowance.take(lease.rate, self._clock(), most * 64) // 64
        if most == 0:
            return False
        stripes, position = strategy(lease.strategy)(held.blocks, lease.position, most, self._sizes)
        left = jobs.open_stripes(self._connection, lease, self._owner, self._settings.chain_id, stripes, position)
        if left is None:
            return False
        complete = {s.number for s in stripes} - {s.number for s in left}
        if complete:
            jobs.mark_published(self._connection, lease.id, sorted(complete))
        self._publish(held, left)
        return True

    def _give_back(self, held: Held) -> None:
        """Let go of a large job that is paused, once all is out: its ranges would keep other large ones waiting."""
        job_id = held.lease.id
        if self._publisher.waiting(job_id) or jobs.unpublished(self._connection, job_id):
            return
        log.info("job %d: given back while it is paused", job_id)
        jobs.release_lease(self._connection, job_id, self._owner, held.lease.lease_epoch)
        del self._held[job_id]

    def _publish(self, held: Held, stripes: list[Stripe]) -> None:
        self._publisher.publish(held.lease, stripes)
        if stripes:
            hook("producer.between-publish-and-record")

    def _note_confirmed(self) -> None:
        self._note_at = self._clock() + _NOTE_SECONDS
        for job_id, stripes in self._publisher.confirmed().items():
            jobs.mark_published(self._connection, job_id, stripes)
            self._publisher.noted(job_id, stripes)

    def _publish_again_what_is_lost(self, held: Held) -> None:
        job_id, now = held.lease.id, self._clock()
        if (self._publisher.failed(job_id) and not self._publisher.waiting(job_id)) or now >= held.untold_at:
            held.untold_at = now + _UNTOLD_SECONDS
            known = self._publisher.under_way(job_id)
            untold = jobs.unpublished(self._connection, job_id)
            self._publish(held, [s for s in untold if s.wanted and s.number not in known])
        if now < held.overdue_at or held.lease.state == "paused":
            return
        held.overdue_at = now + min(_OVERDUE_SECONDS, self._settings.republish_seconds)
        lost = jobs.overdue(self._connection, job_id, self._settings.republish_seconds)
        if not lost:
            return
        behind = self._lag.lagging({"decoder": (*WORK, *RETRY), PERSISTER_GROUP: (DECODED,)}, self._partitions)
        if behind is None:
            return
        lost = [s for s in lost if partition_of(s.number * 64, self._partitions) not in behind]
        if lost:
            log.warning("job %d: publishing %d blocks again", job_id, sum(s.blocks for s in lost))
            self._publish(held, lost)

    def _finish(self, held: Held) -> None:
        lease = held.lease
        if lease.under_way > 0 or self._publisher.waiting(lease.id):
            return
        status = jobs.job_status(self._connection, self._settings.chain_id, lease.id)
        state = "cancelled" if lease.state == "cancelling" else "done"
        counts = f"{status.stored} stored, {status.dead} dead of {status.total}"
        message = f"ended with {counts}"  # a replay may store more of it later
        if jobs.finish_job(self._connection, lease, self._owner, state, message):
            log.info("job %d: %s, %s", lease.id, state, counts)
            del self._held[lease.id]

    def _parked_now(self) -> int:
        if self._clock() >= self._parked_at:
            self._parked_at = self._clock() + _HINT_SECONDS
            self._parked = self._lag.waiting("decoder", RETRY, self._partitions)
        return self._parked

    def _sizes(self, bounds: list[tuple[int, int]]) -> list[float | None]:
        return jobs.mean_sizes(self._connection, self._settings.chain_id, bounds)
