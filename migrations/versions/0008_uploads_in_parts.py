"""Uploads in parts, and the types of columns that a dataset was given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.rebuilding import rebuilt

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SAME = ["tenant_id", "sha256", "format"]


def upgrade() -> None:
    with rebuilt("datasets") as batch:
        batch.add_column(sa.Column("types", sa.Text(), server_default="{}", nullable=False))
        batch.drop_constraint(op.f("uq_datasets_tenant_id_sha256_format"), type_="unique")
        batch.create_unique_constraint(
            op.f("uq_datasets_tenant_id_sha256_format_types"), [*SAME, "types"]
        )
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("bytes", WHOLE, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("part_bytes", WHOLE, nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_uploads_dataset_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_dataset_id"), "uploads", ["dataset_id"])
    op.create_index(op.f("ix_uploads_tenant_id_sha256"), "uploads", ["tenant_id", "sha256"])
    op.create_index(op.f("ix_uploads_used_at"), "uploads", ["used_at"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("number", WHOLE, autoincrement=False, nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("bytes", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["blobs.sha256"], name=op.f("fk_upload_parts_blob")),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["uploads.id"],
            name=op.f("fk_upload_parts_upload_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_upload_parts")),
    )
    op.create_index(op.f("ix_upload_parts_blob"), "upload_parts", ["blob"])


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_table("uploads")
    op.execute(
        "UPDATE jobs SET dataset_id = NULL"
        " WHERE dataset_id IN (SELECT id FROM datasets WHERE types <> '{}')"
    )
    op.execute("DELETE FROM datasets WHERE types <> '{}'")
    with rebuilt("datasets") as batch:
        batch.drop_constraint(op.f("uq_datasets_tenant_id_sha256_format_types"), type_="unique")
        batch.create_unique_constraint(op.f("uq_datasets_tenant_id_sha256_format"), SAME)
        batch.drop_column("types")
