"""A file that comes in parts: each is there or not, and all of them become one dataset."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, delete, select, update

from service.errors import ConflictError, NotFoundError
from service.store import blobs
from service.store.tables import Upload, UploadPart

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.store.blobs import StagedBlob

__all__ = ["complete_upload", "delete_upload", "purge_uploads", "store_part"]


def store_part(
    session: Session, upload_id: str, tenant: str, number: int, staged: StagedBlob
) -> bool:
    """Store a part, unless it is there.  Returns: whether it was not.

    Raises: NotFoundError, if the upload is gone; ConflictError, if it is complete, or has other
    bytes in this place; IntegrityError, if a chunk is gone: stage again.
    """
    mine = (Upload.id == upload_id, Upload.tenant_id == tenant)
    waits = (*mine, Upload.dataset_id.is_(None))
    if not _run(session, update(Upload).where(*waits).values(used_at=time.time())):
        if session.scalar(select(Upload.id).where(*mine)) is None:
            raise NotFoundError("upload", upload_id)
        raise ConflictError(f"{upload_id} is complete")
    here = (UploadPart.upload_id == upload_id, UploadPart.number == number)
    known = session.scalar(select(UploadPart.blob).where(*here))
    if known is None:
        blobs.attach(session, staged)
        row = {"upload_id": upload_id, "number": number, "blob": staged.sha256}
        blobs.insert_new(session, UploadPart, [{**row, "bytes": staged.bytes}])
        known = session.scalar(select(UploadPart.blob).where(*here))
        if known == staged.sha256:
            return True
    if known != staged.sha256:
        raise ConflictError(f"part {number} of {upload_id} is there with other bytes")
    return False


def complete_upload(session: Session, upload_id: str, dataset_id: str) -> None:
    """Note the dataset that the parts make, and let them go."""
    done = update(Upload).where(Upload.id == upload_id, Upload.dataset_id.is_(None))
    if _run(session, done.values(dataset_id=dataset_id, used_at=time.time())):
        _run(session, delete(UploadPart).where(UploadPart.upload_id == upload_id))


def delete_upload(session: Session, upload_id: str, tenant: str) -> bool:
    """Delete an upload with its parts; a dataset that they have made stays."""
    owned = (Upload.id == upload_id, Upload.tenant_id == tenant)
    return bool(_run(session, delete(Upload).where(*owned)))


def purge_uploads(session: Session, kept_s: float) -> int:
    """Delete the uploads that nobody has gone on with.  Returns: how many there were."""
    # Both-sided, as everything that is kept for a time: the clock may have been set back.
    now = time.time()
    stale = ~Upload.used_at.between(now - kept_s, now + kept_s)
    return _run(session, delete(Upload).where(stale))


def _run(session: Session, statement: Any) -> int:
    done = session.execute(statement.execution_options(synchronize_session=False))
    return int(cast("CursorResult[Any]", done).rowcount)
