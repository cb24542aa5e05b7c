"""The warm start of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "warm_starts",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("architecture", JSON, nullable=True),
        sa.Column("receipt", JSON, nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name=op.f("fk_warm_starts_blob")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_warm_starts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_warm_starts")),
    )
    op.create_index(op.f("ix_warm_starts_blob"), "warm_starts", ["blob"])


def downgrade() -> None:
    op.drop_table("warm_starts")
