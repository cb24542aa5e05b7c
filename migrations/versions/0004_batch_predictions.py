"""Batch predictions: the kind of a job, its result, and the parts of a result under way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # Not as a batch: that would make SQLite's table anew, and the triggers would be gone.
    op.add_column("jobs", sa.Column("kind", sa.Text(), server_default="training", nullable=False))
    op.add_column("jobs", sa.Column("result", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "parts",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("step", WHOLE, autoincrement=False, nullable=False),
        sa.Column("position", WHOLE, autoincrement=False, nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name=op.f("fk_parts_blob")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_parts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "step", "position", name=op.f("pk_parts")),
    )
    op.create_index(op.f("ix_parts_blob"), "parts", ["blob"])


def downgrade() -> None:
    op.drop_table("parts")
    op.drop_column("jobs", "result")
    op.drop_column("jobs", "kind")
