"""The evaluation of a job, which its model keeps too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import triggers

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STAYS = "jobs_final_row_stays"


def upgrade() -> None:
    # Not as a batch: that would make SQLite's table anew, and the triggers would be gone.
    for table in ("jobs", "models"):
        op.add_column(table, sa.Column("evaluation", sa.JSON(none_as_null=True), nullable=True))
    triggers.drop(STAYS)
    triggers.create(STAYS, also="evaluation")


def downgrade() -> None:
    triggers.drop(STAYS)
    for table in ("models", "jobs"):
        op.drop_column(table, "evaluation")
    triggers.create(STAYS)
