"""How each answer was replied to: what was understood, the strategy, and the agent's own emotion."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column more; answers from before have none."""
    # Not as a batch: that would make SQLite's table anew, without the triggers that keep the search's words.
    op.add_column("revisions", sa.Column("chain", sa.JSON(none_as_null=True)))


def downgrade() -> None:
    """The column goes, and with it how earlier replies came about."""
    op.drop_column("revisions", "chain")
