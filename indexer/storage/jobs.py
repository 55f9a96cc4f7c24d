"""The job queue in PostgreSQL: statements of the producer and of the command line, by what they do.

Writers: the command line makes jobs and changes their settings and wishes (pause, resume, cancel); a producer that
holds a job's lease writes its position and state, and makes the rows of job_coverage; the persister sets their bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from indexer.errors import UserError
from indexer.jobs.ranges import FULL_MASK, Ranges, Stripe

Connection = psycopg.Connection[Any]

LIVE = ("queued", "running", "paused", "cancelling")
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `batch queue` asks for."""

    chain_id: int
    blocks: Ranges
    priority: str = "normal"
    strategy: str = "earliest"
    batch_size: int = 100
    window_blocks: int = 2000
    rate: float | None = None
    reason: str = "backfill"


@dataclass(frozen=True, slots=True)
class Lease:
    """A job as its producer sees it: what may change while it runs is read anew with every renewal."""

    id: int
    lease_epoch: int
    state: str
    priority: str
    strategy: str
    reason: str
    batch_size: int
    window_blocks: int
    rate: float | None
    position: dict[str, Any] | None
    exhausted: bool
    generation: int  # of the chain, read in the same statement
    published: int = 0
    followed: bool = False  # the chain's head is being followed, and is not to be delayed
    under_way: int = 0  # blocks that are recorded and neither stored nor dead

    @property
    def resolved(self) -> int:
        return self.published - self.under_way


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and the counts of its coverage (popcounts: nothing is counted twice)."""

    id: int
    chain_id: int
    state: str
    priority: str
    strategy: str
    reason: str
    total: int
    published: int
    stored: int
    dead: int
    window_blocks: int
    batch_size: int
    rate: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_owner: str | None
    message: str | None
    first_block: int
    last_block: int

    @property
    def remaining(self) -> int:
        return self.total - self.stored - self.dead


def create_job(connection: Connection, job: NewJob) -> int:
    row = connection.execute(
        """
        INSERT INTO processing_jobs (chain_id, state, priority, strategy, reason, blocks, total, batch_size,
                                     window_blocks, rate)
        VALUES (%s, 'queued', %s, %s, %s, %s::int8multirange, %s, %s, %s, %s)
        RETURNING id
        """,
        (
            job.chain_id,
            job.priority,
            job.strategy,
            job.reason,
            job.blocks.to_multirange(),
            job.blocks.count,
            job.batch_size,
            job.window_blocks,
            job.rate,
        ),
    ).fetchone()
    assert row is not None
    return int(row[0])


def change_job(connection: Connection, chain_id: int, job_id: int, changes: dict[str, Any]) -> None:
    """Change settings of a job that is not finished; raises UserError where there is none."""
    assert changes.keys() <= {"priority", "batch_size", "window_blocks", "rate"}
    assignments = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(k), sql.Placeholder(k)) for k in changes)
    statement = sql.SQL(
        "UPDATE processing_jobs SET {} WHERE id = %(id)s AND chain_id = %(chain_id)s AND state = ANY(%(live)s)"
    ).format(assignments)
    parameters = {**changes, "id": job_id, "chain_id": chain_id, "live": list(LIVE)}
    if connection.execute(statement, parameters).rowcount == 0:
        raise _no_such_job(connection, chain_id, job_id, "changed")


_WISHES = {  # verb: (the state it gives, in which states it does, in which it was heard before)
    "pause": ("paused", ("queued", "running"), ("paused",)),
    "resume": ("queued", ("paused",), ("queued", "running")),
    "cancel": ("cancelling", ("queued", "running", "paused"), ("cancelling", "cancelled")),
}
_DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


@dataclass(frozen=True, slots=True)
class Wished:
    """What a wish came to."""

    state: str
    already: bool  # the job was so before


def wish(connection: Connection, chain_id: int, job_id: int, verb: str) -> Wished:
    """Pause, resume or cancel a job; the same wish twice is no error. Raises UserError where it cannot be."""
    to_state, from_states, heard = _WISHES[verb]
    changed = connection.execute(
        "UPDATE processing_jobs SET state = %s WHERE id = %s AND chain_id = %s AND state = ANY(%s)",
        (to_state, job_id, chain_id, list(from_states)),
    ).rowcount
    if changed:
        return Wished(to_state, already=False)
    row = connection.execute(
        "SELECT state FROM processing_jobs WHERE id = %s AND chain_id = %s", (job_id, chain_id)
    ).fetchone()
    if row is not None and row[0] in heard:
        return Wished(str(row[0]), already=True)
    raise _no_such_job(connection, chain_id, job_id, _DONE[verb])


def _no_such_job(connection: Connection, chain_id: int, job_id: int, done: str) -> UserError:
    row = connection.execute(
        "SELECT state FROM processing_jobs WHERE id = %s AND chain_id = %s", (job_id, chain_id)
    ).fetchone()
    if row is None:
        return UserError(f"no job {job_id} on chain {chain_id}: `indexer batch status` lists them", code="NO_SUCH_JOB")
    return UserError(f"job {job_id} is {row[0]} and cannot be {done}", code="JOB_STATE")


_STATUS = """
    SELECT j.id, j.chain_id, j.state, j.priority, j.strategy, j.reason, j.total, j.published,
           coalesce(c.stored, 0)::bigint AS stored, coalesce(c.dead, 0)::bigint AS dead,
           j.window_blocks, j.batch_size, j.rate, j.created_at, j.started_at, j.finished_at, j.lease_owner, j.message,
           coalesce(lower(j.blocks), (j.position ->> 'next')::bigint, 0) AS first_block,
           coalesce(upper(j.blocks), (j.position ->> 'next')::bigint, 0) - 1 AS last_block
    FROM processing_jobs j
    LEFT JOIN LATERAL (
        SELECT sum(bit_count(stored)) AS stored, sum(bit_count(dead)) AS dead FROM job_coverage WHERE job_id = j.id
    ) c ON true
    WHERE j.chain_id = %(chain_id)s
"""


def job_status(connection: Connection, chain_id: int, job_id: int) -> JobStatus:
    """Return one job; raises UserError where there is none."""
    with connection.cursor(row_factory=class_row(JobStatus)) as cursor:
        cursor.execute(_STATUS + " AND j.id = %(id)s", {"chain_id": chain_id, "id": job_id})
        found = cursor.fetchone()
    if found is None:
        raise _no_such_job(connection, chain_id, job_id, "shown")
    return found


def all_jobs(connection: Connection, chain_id: int, *, live_only: bool = False, most: int = 50) -> list[JobStatus]:
    """Return the newest jobs, newest first."""
    only = " AND j.state = ANY(%(live)s)" if live_only else ""
    with connection.cursor(row_factory=class_row(JobStatus)) as cursor:
        cursor.execute(
            _STATUS + only + " ORDER BY j.id DESC LIMIT %(most)s",
            {"chain_id": chain_id, "live": list(LIVE), "most": most},
        )
        return cursor.fetchall()


def dead_by_code(connection: Connection, job_id: int) -> list[tuple[str, int, int]]:
    """Return (error code, letters, lowest block) of a job's dead letters."""
    rows = connection.execute(
        """
        SELECT code, count(*), coalesce(min(block_number), -1) FROM dead_letters
        WHERE job_id = %s AND state = 'open' GROUP BY code ORDER BY count(*) DESC, code
        """,
        (job_id,),
    ).fetchall()
    return [(str(code), int(count), int(block)) for code, count, block in rows]


# the producer's statements


# Jobs that nobody holds, and which of them come first.
_FREE = """
    chain_id = %(chain_id)s AND state IN ('queued', 'running', 'cancelling') AND reason <> 'head'
    AND (lease_until IS NULL OR lease_until < clock_timestamp())
"""
_BY_URGENCY = "array_position(ARRAY['high', 'normal', 'low'], priority), id"

_WAITING = f"""
    SELECT id, CASE WHEN state = 'cancelling' THEN 0 WHEN id = ANY(%(known)s) THEN NULL
                    WHEN pg_column_size(blocks) <= 32768 THEN (SELECT count(*) FROM unnest(blocks)) END
    FROM (SELECT id, state, blocks, priority FROM processing_jobs
          WHERE {_FREE} ORDER BY {_BY_URGENCY} LIMIT 200) AS first
    ORDER BY {_BY_URGENCY}
"""  # noqa: S608  # constants only

_TAKE = f"""
    UPDATE processing_jobs SET lease_owner = %(owner)s, lease_epoch = lease_epoch + 1,
           lease_until = clock_timestamp() + make_interval(secs => %(seconds)s),
           state = CASE state WHEN 'queued' THEN 'running' ELSE state END,
           started_at = coalesce(started_at, clock_timestamp())
    WHERE id IN (
        SELECT id FROM processing_jobs
        WHERE {_FREE} AND (%(among)s::bigint[] IS NULL OR id = ANY(%(among)s))
        ORDER BY {_BY_URGENCY} LIMIT %(most)s FOR UPDATE SKIP LOCKED)
    RETURNING id
"""  # noqa: S608


def waiting(connection: Connection, chain_id: int, known: Sequence[int]) -> list[tuple[int, int | None]]:
    """Return (id, number of ranges) of the first jobs that nobody holds, urgent and old ones first.

    The number is None of jobs in `known`, and of those with so many ranges that reading them takes time: thousands,
    see range_count. What is cancelled is 0: its ranges are not needed any more.
    """
    rows = connection.execute(_WAITING, {"chain_id": chain_id, "known": list(known)}).fetchall()
    return [(int(row[0]), row[1]) for row in rows]


def range_count(connection: Connection, job_id: int) -> int:
    """Return how many ranges a job has; reads them all, some 0.1 s for the largest."""
    row = connection.execute(
        "SELECT (SELECT count(*) FROM unnest(blocks)) FROM processing_jobs WHERE id = %s", (job_id,)
    ).fetchone()
    return int(row[0]) if row is not None else 0


def take_leases(
    connection: Connection, chain_id: int, owner: str, seconds: float, most: int, among: Sequence[int] | None = None
) -> list[int]:
    """Take up to `most` jobs that nobody holds, urgent and old ones first, only of `among`; no lock is kept.

    The job that follows the head has a producer of its own kind (storage/following.py).
    """
    rows = connection.execute(
        _TAKE,
        {
            "chain_id": chain_id,
            "owner": owner,
            "seconds": seconds,
            "most": most,
            "among": None if among is None else list(among),
        },
    ).fetchall()
    return [int(row[0]) for row in rows]


_UNDER_WAY = """
    SELECT coalesce(sum(bit_count(wanted & ~(stored | dead))), 0)::bigint FROM job_coverage
    WHERE job_id = %(id)s AND (stored | dead) <> wanted
"""
_RENEW = f"""
    UPDATE processing_jobs SET lease_until = clock_timestamp() + make_interval(secs => %(seconds)s),
           state = CASE state WHEN 'queued' THEN 'running' ELSE state END
    WHERE id = %(id)s AND lease_owner = %(owner)s AND lease_epoch = coalesce(%(epoch)s, lease_epoch)
      AND state IN ('queued', 'running', 'paused', 'cancelling')
    RETURNING id, lease_epoch, state, priority, strategy, reason, batch_size, window_blocks, rate, position,
              exhausted <> 0 AS exhausted,
              coalesce((SELECT generation FROM chain_state s WHERE s.chain_id = processing_jobs.chain_id), 0)
                  AS generation,
              published,
              EXISTS (SELECT FROM processing_jobs h
                      WHERE h.chain_id = processing_jobs.chain_id AND h.reason = 'head' AND h.state = 'running'
                        AND h.lease_until > clock_timestamp()) AS followed,
              ({_UNDER_WAY}) AS under_way
"""  # noqa: S608  # constants only


def renew_lease(connection: Connection, job_id: int, owner: str, epoch: int | None, seconds: float) -> Lease | None:
    """Renew the lease and read what may have changed; None when the lease went to somebody else or the job ended."""
    with connection.cursor(row_factory=class_row(Lease)) as cursor:
        cursor.execute(_RENEW, {"id": job_id, "owner": owner, "epoch": epoch, "seconds": seconds})
        return cursor.fetchone()


def release_lease(connection: Connection, job_id: int, owner: str, epoch: int) -> None:
    connection.execute(
        "UPDATE processing_jobs SET lease_owner = NULL, lease_until = NULL"
        " WHERE id = %s AND lease_owner = %s AND lease_epoch = %s",
        (job_id, owner, epoch),
    )


def job_blocks(connection: Connection, job_id: int) -> Ranges:
    rows = connection.execute(
        "SELECT lower(r), upper(r) FROM processing_jobs, unnest(blocks) AS r WHERE id = %s ORDER BY 1", (job_id,)
    ).fetchall()
    return Ranges(tuple((int(first), int(past)) for first, past in rows))


def open_stripes(
    connection: Connection, lease: Lease, owner: str, chain_id: int, stripes: Sequence[Stripe], position: Any
) -> list[Stripe] | None:
    """Move the job's position on and make the rows of these stripes, with the bits of what is stored already.

    Returns what is left to be published; None when the lease is gone (nothing was changed). It is one statement, and so
    one transaction; the rows of stored blocks are locked and looked at again (PROTOCOL 12), so that a rollback cannot
    slip in between. A repair is skipped only by its own job's coverage.
    """
    rows = connection.execute(
        _OPEN_STRIPES,
        {
            "job": lease.id,
            "owner": owner,
            "epoch": lease.lease_epoch,
            "position": Jsonb(position),
            "exhausted": 0 if position is not None else 1,
            "published": sum(s.blocks for s in stripes),
            "chain_id": chain_id,
            "stripes": [s.number for s in stripes],
            "wanted": [signed(s.wanted) for s in stripes],
            "look": lease.reason != "repair",
        },
    ).fetchall()
    if not rows:
        return None
    left = [Stripe(int(number), int(missing) & FULL_MASK) for number, missing in rows if number is not None]
    return [stripe for stripe in left if stripe.wanted]


_OPEN_STRIPES = """
    WITH moved AS (
        UPDATE processing_jobs
        SET position = %(position)s, exhausted = %(exhausted)s, published = published + %(published)s
        WHERE id = %(job)s AND lease_owner = %(owner)s AND lease_epoch = %(epoch)s
        RETURNING id
    ), asked AS (
        SELECT stripe, wanted FROM moved, unnest(%(stripes)s::bigint[], %(wanted)s::bigint[]) AS a (stripe, wanted)
    ), seen AS (
        SELECT b.number FROM blocks b
        WHERE %(look)s AND b.chain_id = %(chain_id)s
          AND b.number >= (SELECT min(stripe) FROM asked) * 64 AND b.number < ((SELECT max(stripe) FROM asked) + 1) * 64
          AND b.number / 64 = ANY(%(stripes)s::bigint[])
        FOR SHARE
    ), bits AS (
        SELECT number / 64 AS stripe, bit_or((1::bigint << (number %% 64)::int)::bit(64)) AS stored
        FROM seen GROUP BY 1
    ), opened AS (
        INSERT INTO job_coverage AS c (job_id, stripe, chain_id, wanted, stored, dead)
        SELECT %(job)s, a.stripe, %(chain_id)s, a.wanted::bit(64),
               coalesce(bits.stored, 0::bigint::bit(64)) & a.wanted::bit(64), 0::bigint::bit(64)
        FROM asked a LEFT JOIN bits USING (stripe)
        ON CONFLICT (job_id, stripe) DO UPDATE SET wanted = c.wanted | excluded.wanted, published_at = NULL
        RETURNING stripe, (wanted & ~(stored | dead))::bigint AS missing
    )
    SELECT o.stripe, o.missing FROM moved LEFT JOIN opened o ON true
"""


def unpublished(connection: Connection, job_id: int) -> list[Stripe]:
    """Return what was recorded and perhaps not published: a producer died in between."""
    rows = connection.execute(
        "SELECT stripe, (wanted & ~(stored | dead))::bigint FROM job_coverage"
        " WHERE job_id = %s AND published_at IS NULL ORDER BY stripe",
        (job_id,),
    ).fetchall()
    return [Stripe(int(number), int(missing) & FULL_MASK) for number, missing in rows]


def overdue(connection: Connection, job_id: int, older_than_seconds: float) -> list[Stripe]:
    """Return what is unresolved in stripes that were published longer ago than this (PROTOCOL 11)."""
    rows = connection.execute(
        """
        SELECT stripe, (wanted & ~(stored | dead))::bigint FROM job_coverage
        WHERE job_id = %s AND (stored | dead) <> wanted
          AND published_at < clock_timestamp() - make_interval(secs => %s)
        ORDER BY published_at LIMIT 64
        """,
        (job_id, older_than_seconds),
    ).fetchall()
    return [Stripe(int(number), int(missing) & FULL_MASK) for number, missing in rows]


def mark_published(connection: Connection, job_id: int, stripes: Sequence[int]) -> None:
    connection.execute(
        "UPDATE job_coverage SET published_at = clock_timestamp() WHERE job_id = %s AND stripe = ANY(%s)",
        (job_id, list(stripes)),
    )


def under_way(connection: Connection, job_id: int) -> int:
    """Return how many blocks of the job are recorded and neither stored nor dead."""
    row = connection.execute(_UNDER_WAY, {"id": job_id}).fetchone()
    assert row is not None
    return int(row[0])


def finish_job(connection: Connection, lease: Lease, owner: str, state: str, message: str) -> bool:
    """End a job (done, cancelled) if the lease is still ours and all of it is stored or dead.

    A rollback that is not committed yet holds the job's row (PROTOCOL 7): then, too, it is False for now.
    """
    with connection.transaction():
        held = connection.execute(
            "SELECT 1 FROM processing_jobs WHERE id = %s AND lease_owner = %s AND lease_epoch = %s AND state = %s"
            " FOR UPDATE SKIP LOCKED",
            (lease.id, owner, lease.lease_epoch, lease.state),
        )
        return held.fetchone() is not None and connection.execute(_FINISH, (state, message, lease.id)).rowcount > 0


_FINISH = """
    UPDATE processing_jobs j SET state = %s, message = %s, finished_at = clock_timestamp(), lease_owner = NULL,
           lease_until = NULL
    WHERE j.id = %s AND NOT EXISTS (SELECT FROM job_coverage c WHERE c.job_id = j.id AND (stored | dead) <> wanted)
"""


def mean_sizes(connection: Connection, chain_id: int, bounds: Sequence[tuple[int, int]]) -> list[float | None]:
    """Return the mean size of a sample of the stored blocks in each half-open range."""
    rows = connection.execute(
        """
        SELECT (SELECT avg(size)::float8 FROM (SELECT size FROM blocks b WHERE b.chain_id = %s
                  AND b.number >= r.first AND b.number < r.past ORDER BY number LIMIT 64) AS some)
        FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS r (first, past, at) ORDER BY r.at
        """,
        (chain_id, [first for first, _ in bounds], [past for _, past in bounds]),
    ).fetchall()
    return [None if row[0] is None else float(row[0]) for row in rows]


def signed(mask: int) -> int:
    """Return a 64-bit mask as PostgreSQL's bigint."""
    return mask - (1 << 64) if mask & _SIGN else mask
