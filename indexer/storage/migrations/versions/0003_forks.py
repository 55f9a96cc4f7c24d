"""One job a chain follows its head, with a finality of its own.

Revision ID: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE processing_jobs ADD COLUMN confirmations integer")
    op.execute(
        "CREATE UNIQUE INDEX processing_jobs_follower ON processing_jobs (chain_id)"
        " WHERE reason = 'head' AND state IN ('queued', 'running', 'paused', 'cancelling')"
    )


def downgrade() -> None:
    raise NotImplementedError("old code runs on these tables: there is nothing to take back")
