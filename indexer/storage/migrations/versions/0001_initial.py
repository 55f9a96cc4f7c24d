"""All tables and views of the first release.

Revision ID: 0001
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(script)  # the driver takes many statements at once, if they have no parameters


def downgrade() -> None:
    raise NotImplementedError("the first revision is never taken back: drop the database instead")
