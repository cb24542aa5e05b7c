"""Datasets that a job parses: what is not known of them yet, and why they have failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.rebuilding import rebuilt

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)
UNKNOWN = {"rows": WHOLE, "prepared": sa.Text(), "schema": JSON}
CHECKS = {
    "state": "state IN ('parsing', 'ready', 'failed')",
    "ready_is_prepared": "(state = 'ready') = (prepared IS NOT NULL)",
}


def upgrade() -> None:
    with rebuilt("datasets") as batch:
        batch.add_column(sa.Column("error", JSON, nullable=True))
        for name, kind in UNKNOWN.items():
            batch.alter_column(name, existing_type=kind, nullable=True)
        for name, holds in CHECKS.items():
            batch.create_check_constraint(op.f(f"ck_datasets_{name}"), holds)


def downgrade() -> None:
    op.execute(
        "UPDATE jobs SET dataset_id = NULL"
        " WHERE dataset_id IN (SELECT id FROM datasets WHERE state <> 'ready')"
    )
    op.execute("DELETE FROM datasets WHERE state <> 'ready'")
    with rebuilt("datasets") as batch:
        for name in CHECKS:
            batch.drop_constraint(op.f(f"ck_datasets_{name}"), type_="check")
        for name, kind in UNKNOWN.items():
            batch.alter_column(name, existing_type=kind, nullable=False)
        batch.drop_column("error")
