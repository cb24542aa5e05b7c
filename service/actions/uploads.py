"""Uploads in parts: what is there survives every failure, and comes from wherever it may."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from chainrule.errors import DataError
from service.actions import datasets
from service.actions.once import Once, plainly
from service.errors import ConflictError, NotFoundError, TooLargeError
from service.ids import new_id
from service.store import blobs, transitions
from service.store.blobs import CHUNK_BYTES, StagedBlob
from service.store.tables import Dataset, Upload, UploadPart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from service.actions.datasets import Intake
    from service.actions.requests import UploadRequest
    from service.store.database import Database, UnitOfWork

__all__ = [
    "KEPT_S",
    "PART_BYTES",
    "begin",
    "complete",
    "delete",
    "get",
    "parts",
    "purge",
    "put",
    "types_of",
]

KEPT_S = 24 * 3600.0
PART_BYTES = 8 * CHUNK_BYTES  # whole chunks: those of the parts are those of the file
SHOWN = 10


def begin(
    uow: UnitOfWork, tenant: str, request: UploadRequest, max_bytes: int
) -> tuple[Upload, bool]:
    """Begin an upload, or find the one that the same bytes began, if their hash is told.

    Returns: the upload, and whether it is new. One whose bytes are a dataset already is complete.
    Raises: TooLargeError.
    """
    if request.bytes > max_bytes:
        raise TooLargeError(f"a file must have at most {max_bytes:,} bytes, got {request.bytes:,}")
    session = uow.session
    upload_id = uow.keep("upload", lambda: new_id("upl"))
    wanted = (Upload.tenant_id == tenant, Upload.id == upload_id)
    if (row := session.scalar(select(Upload).where(*wanted))) is not None:
        return row, True  # the COMMIT of this very call had gone through
    if request.sha256 is not None and (row := _begun(session, tenant, request)) is not None:
        row.used_at = time.time()
        return row, False
    now = time.time()
    row = Upload(
        id=upload_id,
        tenant_id=tenant,
        name=request.name,
        format=request.format,
        types=transitions.canonical(request.types),
        bytes=request.bytes,
        sha256=request.sha256,
        part_bytes=min(PART_BYTES, max_bytes // CHUNK_BYTES * CHUNK_BYTES),
        dataset_id=_known(session, tenant, request),
        created_at=now,
        used_at=now,
    )
    session.add(row)
    session.flush()
    return row, True


def get(session: Session, tenant: str, upload_id: str) -> Upload:
    """Return one.  Raises: NotFoundError."""
    owned = (Upload.id == upload_id, Upload.tenant_id == tenant)
    row = session.scalar(select(Upload).where(*owned))
    if row is None:
        raise NotFoundError("upload", upload_id)
    return row


def parts(session: Session, upload: Upload) -> Sequence[UploadPart]:
    """Return the parts that are there, in order."""
    of_upload = select(UploadPart).where(UploadPart.upload_id == upload.id)
    return session.scalars(of_upload.order_by(UploadPart.number)).all()


def put(
    database: Database, tenant: str, upload_id: str, number: int, path: Path
) -> tuple[UploadPart, bool]:
    """Store a part.  Returns: it, and whether it is new: the same bytes again change nothing.

    Raises: NotFoundError; DataError at ``part``, if it has not the size that it must have;
    ConflictError, if other bytes are there, or the upload is complete.
    """
    with database.read() as session:
        upload = get(session, tenant, upload_id)
    count = -(-upload.bytes // upload.part_bytes)
    if not 1 <= number <= count:
        raise DataError.at("part", f"there are parts 1 to {count:,}, got {number:,}")
    wanted = min(upload.part_bytes, upload.bytes - (number - 1) * upload.part_bytes)
    if (size := path.stat().st_size) != wanted:
        raise DataError.at("part", f"part {number} has {wanted:,} bytes, got {size:,}")

    def store(uow: UnitOfWork, staged: StagedBlob) -> tuple[UploadPart, bool]:
        new = transitions.store_part(uow.session, upload_id, tenant, number, staged)
        part = UploadPart(number=number, blob=staged.sha256, bytes=staged.bytes)
        return part, new

    return blobs.attached(database, lambda: blobs.stage(database, datasets.pieces(path)), store)


def types_of(row: Upload | Dataset) -> dict[str, str]:
    """Return the types of columns that the client has given."""
    types: dict[str, str] = json.loads(row.types)
    return types


def complete(
    intake: Intake, tenant: str, upload_id: str, once: Once = plainly
) -> tuple[Dataset, bool]:
    """Make a dataset of an upload whose parts are all there; all else as ``datasets.create``.

    Raises: NotFoundError; ConflictError, naming parts that are missing; DataError at ``sha256``, if
    the file is not the one that was told of, or as ``datasets.create``.
    """
    database = intake.database
    with database.read() as session:
        upload = get(session, tenant, upload_id)
        there = {part.number: part.blob for part in parts(session, upload)}
        names = [name for blob in there.values() for name in blobs.chunks(session, blob)]
    if upload.dataset_id is not None:
        made = str(upload.dataset_id)
        find = once(lambda uow: (datasets.get(uow.session, tenant, made), False))
        found: tuple[Dataset, bool] = database.transact(find)
        return found
    count = -(-upload.bytes // upload.part_bytes)
    missing = [number for number in range(1, count + 1) if number not in there]
    if missing:
        told = ", ".join(map(str, missing[:SHOWN])) + (", …" if len(missing) > SHOWN else "")
        raise ConflictError(f"{upload_id} lacks {len(missing):,} of {count:,} parts: {told}")
    digest = hashlib.sha256()
    for blob in there.values():
        for piece in blobs.stream(database, blob):
            digest.update(piece)
    sha256 = digest.hexdigest()
    if upload.sha256 not in (None, sha256):
        raise DataError.at("sha256", f"the parts make a file whose SHA-256 is {sha256}")

    def finishing(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(uow: UnitOfWork, *made: Any) -> Any:
            dataset, created = act(uow, *made)
            transitions.complete_upload(uow.session, upload_id, dataset.id)
            return dataset, created

        return once(acting)

    file = datasets.Upload(tenant, upload.name, upload.format, types_of(upload))
    staged = StagedBlob(sha256, upload.bytes, tuple(names))
    try:
        return datasets.adopt(intake, file, staged, finishing)
    except IntegrityError:  # somebody has deleted it meanwhile
        raise NotFoundError("upload", upload_id) from None


def delete(uow: UnitOfWork, tenant: str, upload_id: str) -> None:
    """Delete one with its parts; a dataset that they have made stays.  Raises: NotFoundError."""
    if not uow.once(transitions.delete_upload(uow.session, upload_id, tenant)):
        raise NotFoundError("upload", upload_id)


def purge(database: Database) -> int:
    """Delete what nobody has gone on with for a day.  Returns: how many uploads there were."""
    return database.transact(lambda uow: transitions.purge_uploads(uow.session, KEPT_S))


def _begun(session: Session, tenant: str, request: UploadRequest) -> Upload | None:
    """Return the newest upload of the same bytes that goes on."""
    same = (
        Upload.tenant_id == tenant,
        Upload.sha256 == request.sha256,
        Upload.bytes == request.bytes,
        Upload.format == request.format,
        Upload.types == transitions.canonical(request.types),
        Upload.dataset_id.is_(None),
    )
    newest = select(Upload).where(*same).order_by(Upload.created_at.desc())
    return session.scalars(newest.limit(1)).first()


def _known(session: Session, tenant: str, request: UploadRequest) -> str | None:
    """Return the dataset that the same bytes have made before."""
    if request.sha256 is None:
        return None
    upload = datasets.Upload(tenant, request.name, request.format, dict(request.types))
    known = datasets.find(session, upload, request.sha256)
    return known.id if known is not None and known.state != "failed" else None
