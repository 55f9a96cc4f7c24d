"""Replays of dead letters, who did what to letters, and what is known of a record that kills its process.

Revision ID: 0002
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(script)  # the driver takes many statements at once, if they have no parameters


def downgrade() -> None:
    raise NotImplementedError("old code runs on these tables: there is nothing to take back")
