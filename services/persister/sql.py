"""What the persister says to PostgreSQL inside a row transaction, by what it does."""

from __future__ import annotations

PREPARE_SESSION = """
    CREATE TEMPORARY TABLE IF NOT EXISTS balance_changes (
        token_address bytea NOT NULL, token_id numeric NOT NULL, holder bytea NOT NULL, delta numeric NOT NULL
    ) ON COMMIT DELETE ROWS
"""

STORED_AT = """
    SELECT number, hash, generation, model_version FROM blocks
    WHERE chain_id = %(chain_id)s AND number = ANY(%(numbers)s)
"""

ROLLBACKS = "SELECT from_number, generation FROM rollbacks WHERE chain_id = %s"

RAISE_GENERATION = """
    UPDATE blocks b SET generation = x.generation
    FROM unnest(%(numbers)s::bigint[], %(generations)s::bigint[]) AS x (number, generation)
    WHERE b.chain_id = %(chain_id)s AND b.number = x.number AND b.number = ANY(%(numbers)s)
"""

DELETE_TRANSFERS = """
    DELETE FROM token_transfers WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)
    RETURNING token_address, token_id, from_address, to_address, amount
"""

DELETE_ROWS = (
    "DELETE FROM blocks WHERE chain_id = %(chain_id)s AND number = ANY(%(numbers)s)",
    "DELETE FROM transactions WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)",
    "DELETE FROM logs WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)",
    "DELETE FROM decoded_events WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)",
    "DELETE FROM transaction_processing WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)",
)

NOTE_STORED = """
    INSERT INTO block_processing AS p (chain_id, block_number, status, job_id, generation, attempts)
    SELECT %(chain_id)s, x.number, 'stored', x.job_id, x.generation, 1
    FROM unnest(%(numbers)s::bigint[], %(jobs)s::bigint[], %(generations)s::bigint[]) AS x (number, job_id, generation)
    ORDER BY x.number
    ON CONFLICT (chain_id, block_number) DO UPDATE
    SET status = 'stored', job_id = excluded.job_id, generation = excluded.generation,
        attempts = p.attempts + 1, updated_at = now()
"""

# After NOTE_STORED, whose row lock the DLQ indexer takes first as well: either sees what the other did.
RESOLVE_LETTERS = """
    UPDATE dead_letters SET state = 'resolved'
    WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)
      AND (state = 'replayed' OR state = 'open' AND block_number = ANY(%(written)s))
"""

# A repair job's bits are set by its own repairs only, every other job's by any block.
COVER = """
    UPDATE job_coverage c SET stored = c.stored | (x.mask & c.wanted), dead = c.dead & ~x.mask
    FROM (
        SELECT w.job_id, w.stripe, bit_or(a.mask::bit(64)) AS mask
        FROM unnest(%(stripes)s::bigint[], %(jobs)s::bigint[], %(masks)s::bigint[]) AS a (stripe, job, mask)
        JOIN job_coverage w ON w.chain_id = %(chain_id)s AND w.stripe = a.stripe
        LEFT JOIN processing_jobs j ON j.id = w.job_id
        WHERE CASE WHEN j.reason = 'repair' THEN a.job = w.job_id ELSE a.job = -1 END
        GROUP BY w.job_id, w.stripe
    ) AS x
    WHERE c.job_id = x.job_id AND c.stripe = x.stripe
"""

# The upsert meets the rows of all persisters in one order, so that none waits for another in a circle.
ADD_BALANCES = """
    INSERT INTO balances AS b (chain_id, token_address, token_id, holder, balance)
    SELECT %(chain_id)s, token_address, token_id, holder, delta FROM balance_changes
    ORDER BY token_address, token_id, holder
    ON CONFLICT (chain_id, token_address, token_id, holder) DO UPDATE SET balance = b.balance + excluded.balance
"""

OUTBOX = """
    INSERT INTO outbox (topic, partition, record_key, record_value, record_headers) VALUES (%s, %s, %s, %s, %s)
"""

KNOW_ROLLBACK = """
    INSERT INTO rollbacks (chain_id, from_number, generation) VALUES (%(chain_id)s, %(from)s, %(generation)s)
    ON CONFLICT DO NOTHING
"""

LOWER_CANONICAL = """
    UPDATE chain_state SET canonical_to = least(canonical_to, %(from)s - 1) WHERE chain_id = %(chain_id)s
"""

OLDER_ROWS = """
    SELECT number FROM blocks
    WHERE chain_id = %(chain_id)s AND number >= %(from)s AND generation < %(generation)s ORDER BY number
"""

FORGET_OUTCOME = "DELETE FROM block_processing WHERE chain_id = %(chain_id)s AND block_number = ANY(%(numbers)s)"

# Before bits are cleared: a job ends before, and is opened again, or after, and sees what it lacks.
HOLD_JOBS = """
    SELECT FROM processing_jobs
    WHERE id IN (SELECT job_id FROM job_coverage WHERE chain_id = %(chain_id)s AND stripe = ANY(%(stripes)s::bigint[]))
    ORDER BY id FOR KEY SHARE
"""

UNCOVER = """
    WITH x AS (
        SELECT stripe, mask::bit(64) AS mask FROM unnest(%(stripes)s::bigint[], %(masks)s::bigint[]) AS a (stripe, mask)
    ), cleared AS (
        UPDATE job_coverage c SET stored = c.stored & ~x.mask, dead = c.dead & ~x.mask, published_at = NULL
        FROM x WHERE c.chain_id = %(chain_id)s AND c.stripe = x.stripe AND (c.wanted & x.mask) <> 0::bigint::bit(64)
        RETURNING c.job_id
    )
    UPDATE processing_jobs SET state = 'queued', finished_at = NULL
    WHERE id IN (SELECT job_id FROM cleared) AND state = 'done'
"""

NOTE_GENERATION = """
    UPDATE consumer_progress SET applied_generation = greatest(applied_generation, %(generation)s)
    WHERE consumer_group = %(group)s AND topic = %(topic)s AND partition = %(partition)s
"""
