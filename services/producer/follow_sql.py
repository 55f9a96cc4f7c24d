"""What the follower says to PostgreSQL, by what it does; every change first compares the lease (PROTOCOL 6)."""

from __future__ import annotations

_LEASE = "id = %(job)s AND lease_owner = %(owner)s AND lease_epoch = %(epoch)s"

TAKE = """
    UPDATE processing_jobs SET lease_owner = %(owner)s, lease_epoch = lease_epoch + 1,
           lease_until = clock_timestamp() + make_interval(secs => %(seconds)s),
           state = CASE state WHEN 'queued' THEN 'running' ELSE state END,
           started_at = coalesce(started_at, clock_timestamp())
    WHERE id = (
        SELECT id FROM processing_jobs
        WHERE chain_id = %(chain_id)s AND reason = 'head' AND state IN ('queued', 'running', 'cancelling')
          AND (lease_until IS NULL OR lease_until < clock_timestamp())
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id, lease_epoch
"""

RENEW = f"""
    UPDATE processing_jobs SET lease_until = clock_timestamp() + make_interval(secs => %(seconds)s),
           state = CASE state WHEN 'queued' THEN 'running' ELSE state END
    WHERE {_LEASE}
"""  # noqa: S608  # constants only

RELEASE = f"UPDATE processing_jobs SET lease_owner = NULL, lease_until = NULL WHERE {_LEASE}"  # noqa: S608

STATE = f"""
    SELECT j.id, j.state, j.confirmations, j.position, s.finalized_to, s.paused
    FROM processing_jobs j LEFT JOIN chain_state s ON s.chain_id = j.chain_id
    WHERE {_LEASE} AND j.state IN ('queued', 'running', 'paused', 'cancelling')
"""  # noqa: S608

# What is not final and what is final but not stored yet are both kept; the fork is looked for in the former only.
WINDOW = """
    SELECT h.number, h.hash, h.parent_hash FROM headers h LEFT JOIN chain_state s ON s.chain_id = h.chain_id
    WHERE h.chain_id = %(chain_id)s AND h.number >= coalesce(s.finalized_to, -1) ORDER BY h.number
"""

HEADERS_FROM = """
    SELECT number, hash, parent_hash FROM headers WHERE chain_id = %(chain_id)s AND number >= %(from)s ORDER BY number
"""

MOVE = f"""
    UPDATE processing_jobs j SET position = %(position)s, blocks = x.blocks, message = NULL,
           published = published + greatest(%(past)s - %(first)s, 0),
           total = (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(x.blocks) AS r)
    FROM (
        SELECT blocks * int8multirange(int8range(NULL, %(past)s)) + int8multirange(int8range(%(first)s, %(past)s))
               AS blocks
        FROM processing_jobs WHERE id = %(job)s
    ) AS x
    WHERE {_LEASE}
"""  # noqa: S608

TRUST = """
    INSERT INTO chain_state AS s (chain_id, finalized_to, canonical_to) VALUES (%(chain_id)s, %(final)s, %(below)s)
    ON CONFLICT (chain_id) DO UPDATE
    SET finalized_to = greatest(s.finalized_to, excluded.finalized_to),
        canonical_to = coalesce(s.canonical_to, excluded.canonical_to)
"""

# Higher than every generation that is known anywhere, and than any that a restored database may have given out.
RAISE = """
    WITH raised AS (
        INSERT INTO chain_state AS s (chain_id, generation, finalized_to, canonical_to)
        VALUES (%(chain_id)s, greatest(%(now_ms)s, (SELECT max(generation) + 1 FROM rollbacks
                                                    WHERE chain_id = %(chain_id)s)), %(from)s - 1, %(from)s - 1)
        ON CONFLICT (chain_id) DO UPDATE
        SET generation = greatest(s.generation + 1, excluded.generation),
            canonical_to = least(s.canonical_to, %(from)s - 1), finalized_to = least(s.finalized_to, %(from)s - 1)
        RETURNING generation
    )
    INSERT INTO rollbacks (chain_id, from_number, generation)
    SELECT %(chain_id)s, %(from)s, generation FROM raised RETURNING generation
"""

FORGET_HEADERS = "DELETE FROM headers WHERE chain_id = %(chain_id)s AND number >= %(from)s"

# What a person takes back may begin below all headers: what comes next is to hang on the block before it.
KEEP_PARENT = """
    INSERT INTO headers (chain_id, number, hash, parent_hash, generation)
    SELECT b.chain_id, b.number, b.hash, b.parent_hash, s.generation
    FROM blocks b JOIN chain_state s ON s.chain_id = b.chain_id
    WHERE b.chain_id = %(chain_id)s AND b.number = %(from)s - 1
    ON CONFLICT DO NOTHING
"""

ENTER_HEADERS = """
    INSERT INTO headers (chain_id, number, hash, parent_hash, generation)
    SELECT %(chain_id)s, x.number, x.hash, x.parent_hash, s.generation
    FROM unnest(%(numbers)s::bigint[], %(hashes)s::bytea[], %(parents)s::bytea[]) AS x (number, hash, parent_hash)
    JOIN chain_state s ON s.chain_id = %(chain_id)s
    ORDER BY x.number RETURNING number, hash, generation
"""

WANT = """
    INSERT INTO job_coverage AS c (job_id, stripe, chain_id, wanted, stored, dead)
    SELECT %(job)s, x.stripe, %(chain_id)s, x.mask::bit(64), 0::bigint::bit(64), 0::bigint::bit(64)
    FROM unnest(%(stripes)s::bigint[], %(masks)s::bigint[]) AS x (stripe, mask) ORDER BY x.stripe
    ON CONFLICT (job_id, stripe) DO UPDATE SET wanted = c.wanted | excluded.wanted, published_at = NULL
"""

# What is on its way with an older generation will be refused.
PUBLISH_AGAIN = """
    UPDATE job_coverage SET published_at = NULL
    WHERE chain_id = %(chain_id)s AND stripe >= %(stripe)s AND job_id <> %(job)s AND (stored | dead) <> wanted
"""

SAY = f"UPDATE processing_jobs SET message = %(message)s WHERE {_LEASE}"  # noqa: S608

PAUSE = "UPDATE chain_state SET paused = %(message)s WHERE chain_id = %(chain_id)s"

FINAL = f"""
    UPDATE chain_state s SET finalized_to = greatest(s.finalized_to, least(%(final)s, x.tip))
    FROM (SELECT (position ->> 'next')::bigint - 1 AS tip FROM processing_jobs WHERE {_LEASE}) AS x
    WHERE s.chain_id = %(chain_id)s AND s.finalized_to < least(%(final)s, x.tip)
"""  # noqa: S608

# Over rows whose hash is the header's, and over final ones that no header speaks of; never over what a rollback that
# is still under way will take. Another writer in between (the persister lowers it) makes this a no-op.
RAISE_CANONICAL = """
    WITH s AS (
        SELECT generation, canonical_to, finalized_to FROM chain_state WHERE chain_id = %(chain_id)s
    ), trusted AS (
        SELECT b.number, b.number - row_number() OVER (ORDER BY b.number) AS island
        FROM s, blocks b LEFT JOIN headers h ON h.chain_id = b.chain_id AND h.number = b.number
        WHERE b.chain_id = %(chain_id)s AND b.number > s.canonical_to AND b.number <= s.canonical_to + 2000
          AND CASE WHEN h.hash IS NULL THEN b.number <= s.finalized_to ELSE b.hash = h.hash END
          AND NOT EXISTS (SELECT FROM rollbacks r WHERE r.chain_id = %(chain_id)s
                          AND r.from_number <= b.number AND r.generation > b.generation)
    )
    UPDATE chain_state c SET canonical_to = x.number
    FROM s, (SELECT max(t.number) AS number FROM trusted t, s WHERE t.island = s.canonical_to) AS x
    WHERE c.chain_id = %(chain_id)s AND c.canonical_to = s.canonical_to AND c.generation = s.generation
      AND x.number > s.canonical_to
"""

PRUNE = """
    DELETE FROM headers h USING chain_state s
    WHERE s.chain_id = %(chain_id)s AND h.chain_id = s.chain_id AND h.number < least(s.finalized_to, s.canonical_to)
"""

NOT_APPLIED = """
    SELECT r.from_number, r.generation, array_agg(p.n ORDER BY p.n)
    FROM rollbacks r CROSS JOIN generate_series(0, %(last)s) AS p (n)
    LEFT JOIN consumer_progress c ON c.consumer_group = %(group)s AND c.topic = %(topic)s AND c.partition = p.n
    WHERE r.chain_id = %(chain_id)s AND r.generation > coalesce(c.applied_generation, 0)
    GROUP BY r.from_number, r.generation ORDER BY r.generation
"""

# Rows that a rollback under way will take: they still set bits, of heights whose new blocks may never have been told.
DOOMED = """
    SELECT h.number FROM headers h JOIN blocks b ON b.chain_id = h.chain_id AND b.number = h.number
    WHERE h.chain_id = %(chain_id)s AND h.number / 64 = ANY(%(stripes)s)
      AND EXISTS (SELECT FROM rollbacks r WHERE r.chain_id = %(chain_id)s
                  AND r.from_number <= b.number AND r.generation > b.generation)
"""

# A row of another hash, unless a rollback that is under way takes it; or a rollback that a restored database forgot
# and a persister entered: what we give out is older, or, where a fork came in between, what a header says is.
MISMATCH = """
    SELECT min(number) FROM (
        SELECT min(b.number) AS number
        FROM headers h JOIN blocks b ON b.chain_id = h.chain_id AND b.number = h.number
        WHERE h.chain_id = %(chain_id)s AND b.hash <> h.hash
          AND NOT EXISTS (SELECT FROM rollbacks r WHERE r.chain_id = %(chain_id)s
                          AND r.from_number <= b.number AND r.generation > b.generation)
        UNION ALL
        SELECT min(r.from_number) FROM rollbacks r JOIN chain_state s ON s.chain_id = r.chain_id
        WHERE r.chain_id = %(chain_id)s AND r.generation > s.generation
        UNION ALL
        SELECT min(h.number) FROM headers h JOIN rollbacks r ON r.chain_id = h.chain_id
        WHERE h.chain_id = %(chain_id)s AND r.from_number <= h.number AND r.generation > h.generation
    ) AS found
"""

END = f"""
    UPDATE processing_jobs SET state = 'cancelled', finished_at = clock_timestamp(), lease_owner = NULL,
           lease_until = NULL, message = 'stopped following'
    WHERE {_LEASE} AND state = 'cancelling' AND NOT EXISTS (
        SELECT FROM job_coverage c JOIN headers h ON h.chain_id = c.chain_id AND h.number / 64 = c.stripe
        WHERE c.job_id = %(job)s AND get_bit(c.wanted & ~(c.stored | c.dead), 63 - (h.number %% 64)::int) = 1
          AND coalesce(c.published_at, now()) > clock_timestamp() - make_interval(secs => %(seconds)s))
"""  # noqa: S608
