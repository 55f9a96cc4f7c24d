"""What an audit reads of the database, span by span."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from indexer.audit.expected import JobSpan, Span
from indexer.jobs.ranges import FULL_MASK, Ranges
from indexer.storage.engine import Connection
from indexer.topics import STRIPE

_STRIPES = 64  # whose coverage is mended in one statement


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """Everything inside sees the database at one moment: rows and bits that were committed together stay together."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def known_range(connection: Connection, chain_id: int) -> tuple[int, int] | None:
    """Return the lowest and the highest height that is stored or that a job asks for."""
    row = connection.execute(_KNOWN_RANGE, {"chain": chain_id}).fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))


def load_span(connection: Connection, chain_id: int, first: int, last: int, named: bool) -> Span:
    """Return jobs, coverage, rows and letters of the heights from first to last."""
    start = first // STRIPE * STRIPE
    asked = {"chain": chain_id, "first": first, "last": last}
    only = _mask(((first, last),), start)
    jobs = {int(r[0]): JobSpan(*r) for r in connection.execute(_JOBS, {"chain": chain_id}).fetchall()}
    for job, low, past in connection.execute(_ASKED, asked).fetchall():
        jobs[job].asked |= _mask(((low, past - 1),), start)
    stripes = {"chain": chain_id, "first": start // STRIPE, "last": last // STRIPE}
    for job_id, stripe, *masks in connection.execute(_COVERAGE, stripes).fetchall():
        if (job := jobs.get(job_id)) is not None:
            wanted, stored, dead = (((int(m) & FULL_MASK) << (stripe * STRIPE - start)) & only for m in masks)
            job.asked, job.opened = job.asked | wanted, job.opened | wanted
            job.stored, job.dead = job.stored | stored, job.dead | dead
    letters = connection.execute(_LETTERS, asked).fetchall()
    return Span(
        start,
        list(jobs.values()),
        _mask(((r[0], r[0]) for r in connection.execute(_STORED, asked)), start),
        _mask(((number, number) for number, dropped in letters if not dropped), start),
        _mask(((number, number) for number, dropped in letters if dropped), start),
        only if named else 0,
    )


def _mask(ranges: Iterable[tuple[int, int]], start: int) -> int:
    mask = 0
    for first, last in ranges:
        mask |= ((1 << (last - first + 1)) - 1) << (first - start)
    return mask


def hash_at(connection: Connection, chain_id: int, number: int) -> bytes | None:
    row = connection.execute("SELECT hash FROM blocks WHERE chain_id = %s AND number = %s", (chain_id, number))
    found = row.fetchone()
    return None if found is None else bytes(found[0])


def is_trusted(connection: Connection, chain_id: int, number: int, final: int) -> bool | None:
    """Return whether a stored block is on the chain for good; None where no block is stored.

    It is as far as the chain's follower came, and up to the node's `final` block (a follower may have ended long ago,
    or stand before a dead letter) where no rollback will take it; everywhere on a chain that was never followed.
    """
    row = connection.execute(_TRUSTED, {"chain": chain_id, "number": number, "final": final}).fetchone()
    return None if row is None else bool(row[0])


def count_stored(connection: Connection, chain_id: int, blocks: Ranges) -> int:
    """Have every job that is done, but repairs, count what is stored of these heights; return how many rows changed.

    Rows of job_coverage that are lost are made again, for all that the job wants of their heights: what is stored later
    finds them. The blocks' rows are locked, so that a rollback cannot slip in between (as PROTOCOL 12 has it).
    """
    changed = 0
    for first, past in blocks.pairs:
        for start in range(first // STRIPE, (past - 1) // STRIPE + 1, _STRIPES):
            stripes = {"first": start, "last": min(start + _STRIPES - 1, (past - 1) // STRIPE)}
            changed += connection.execute(_COUNT_STORED, {"chain": chain_id, **stripes}).rowcount
    return changed


_KNOWN_RANGE = """
    SELECT min(low), max(high) FROM (
        SELECT min(number) AS low, max(number) AS high FROM blocks WHERE chain_id = %(chain)s
        UNION ALL
        SELECT min(lower(blocks)), max(upper(blocks)) - 1 FROM processing_jobs
        WHERE chain_id = %(chain)s AND state <> 'cancelled') AS x
"""

_JOBS = "SELECT id, state, reason FROM processing_jobs WHERE chain_id = %(chain)s ORDER BY id"

_ASKED = """
    SELECT j.id, lower(r), upper(r) FROM processing_jobs j,
        unnest(j.blocks * int8multirange(int8range(%(first)s, %(last)s, '[]'))) AS r
    WHERE j.chain_id = %(chain)s
"""

_COVERAGE = """
    SELECT job_id, stripe, wanted::bigint, stored::bigint, dead::bigint FROM job_coverage
    WHERE chain_id = %(chain)s AND stripe BETWEEN %(first)s AND %(last)s
"""

_STORED = "SELECT number FROM blocks WHERE chain_id = %(chain)s AND number BETWEEN %(first)s AND %(last)s"

_TRUSTED = """
    SELECT s.canonical_to IS NULL OR b.number <= s.canonical_to
        OR (b.number <= %(final)s
            AND NOT EXISTS (SELECT FROM rollbacks r WHERE r.chain_id = b.chain_id
                            AND r.from_number <= b.number AND r.generation > b.generation))
    FROM blocks b LEFT JOIN chain_state s ON s.chain_id = b.chain_id
    WHERE b.chain_id = %(chain)s AND b.number = %(number)s
"""

_LETTERS = """
    SELECT DISTINCT block_number, state = 'dropped' FROM dead_letters
    WHERE chain_id = %(chain)s AND block_number BETWEEN %(first)s AND %(last)s
      AND state IN ('open', 'replayed', 'quarantined', 'dropped')
"""

_COUNT_STORED = """
    WITH seen AS (
        SELECT number FROM blocks
        WHERE chain_id = %(chain)s AND number >= %(first)s::bigint * 64 AND number < (%(last)s::bigint + 1) * 64
        FOR SHARE
    ), bits AS (
        SELECT j.id AS job, a.number / 64 AS stripe,
               bit_or((1::bigint << (a.number %% 64)::int)::bit(64)) AS wanted,
               coalesce(bit_or((1::bigint << (s.number %% 64)::int)::bit(64)), 0::bigint::bit(64)) AS stored
        FROM processing_jobs j
        JOIN generate_series(%(first)s::bigint * 64, (%(last)s::bigint + 1) * 64 - 1) AS a (number)
          ON j.blocks @> a.number
        LEFT JOIN seen s ON s.number = a.number
        WHERE j.chain_id = %(chain)s AND j.state = 'done' AND j.reason <> 'repair'
        GROUP BY 1, 2
    )
    INSERT INTO job_coverage AS c (job_id, stripe, chain_id, wanted, stored, dead, published_at)
    SELECT job, stripe, %(chain)s, wanted, stored, 0::bigint::bit(64), now() FROM bits ORDER BY job, stripe
    ON CONFLICT (job_id, stripe) DO UPDATE
    SET wanted = c.wanted | excluded.wanted, stored = c.stored | excluded.stored, dead = c.dead & ~excluded.stored
    WHERE (c.wanted & excluded.wanted, c.stored & excluded.stored, c.dead & excluded.stored)
          <> (excluded.wanted, excluded.stored, 0::bigint::bit(64))
"""
