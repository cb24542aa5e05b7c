"""The tables of files that come in parts; ``tables`` has them among all others."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.store.base import Base

__all__ = ["Upload", "UploadPart"]


class Upload(Base):
    """A file that comes in parts, until they are a dataset.  ``used_at``: when one came last.

    ``types`` is as in ``Dataset``; ``sha256`` what the client says that the file's is.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "tenant_id", "sha256"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    name: Mapped[str]
    format: Mapped[str]
    types: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str | None]
    part_bytes: Mapped[int]
    dataset_id: Mapped[str | None] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[float]
    used_at: Mapped[float] = mapped_column(index=True)


class UploadPart(Base):
    """A part of such a file, numbered from 1."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[str] = mapped_column(
        ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    blob: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), index=True)
    bytes: Mapped[int]
