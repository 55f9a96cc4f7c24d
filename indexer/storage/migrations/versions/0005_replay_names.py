"""A replay's name in Kafka is its own for ever: a restored database gives its id out again.

Revision ID: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE replay_runs ADD COLUMN nonce text")  # no default: older runs keep the name that they have


def downgrade() -> None:
    raise NotImplementedError("old code runs on these tables: there is nothing to take back")
