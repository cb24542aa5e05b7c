"""Datasets: kept as uploaded, and as the tensors that they were parsed into."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from chainrule.mapping import open_tensors
from service.actions.cache import Cache
from service.actions.once import plainly
from service.actions.paging import Page, newest
from service.errors import NotFoundError
from service.ids import new_id
from service.store import blobs, transitions
from service.store.file_cache import FileCache
from service.store.tables import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from sqlalchemy.orm import Session

    from service.actions.once import Once
    from service.parsing import Parser
    from service.store.blobs import StagedBlob
    from service.store.database import Database, UnitOfWork

    Tensors = dict[str, np.ndarray[Any, Any]]

__all__ = ["content", "create", "delete", "get", "list_page", "tensors"]

PIECE_BYTES = 2**20
LEAST_BYTES = 64 * 2**20  # that a file counts for: each is open, and not many may be
_mapped: Cache[Tensors] = Cache(max_bytes=8 << 30)  # of files: no memory, but room on the disk


def create(  # noqa: PLR0913 one keyword for each fact of an upload
    database: Database,
    parser: Parser,
    *,
    tenant: str,
    name: str,
    format: str,  # noqa: A002 as the API calls it
    path: Path,
    once: Once = plainly,
) -> tuple[Dataset, bool]:
    """Parse and store an uploaded file, or find the dataset that the same bytes made before.

    Returns: the dataset, and whether it is new.  Raises: DataError, located in the file.
    """
    sha256 = _hash(path)
    with database.read() as session:
        known = _same(session, tenant, sha256, format)
    found: tuple[Dataset, bool]
    if known is not None:
        with suppress(NotFoundError):  # deleted since
            act = once(lambda uow: (get(uow.session, tenant, known.id), False))
            found = database.transact(act)
            return found
    dataset_id = new_id("ds")
    parsed = parser.parse(path, format)

    def store(uow: UnitOfWork, staged: tuple[StagedBlob, StagedBlob]) -> tuple[Dataset, bool]:
        new = transitions.NewDataset(*staged, name, format, parsed.rows, parsed.schema, dataset_id)
        row = transitions.store_dataset(uow.session, tenant, new)
        return row, row.id == dataset_id

    try:
        found = blobs.attached(
            database,
            lambda: (
                blobs.stage(database, _pieces(path)),
                blobs.stage(database, _pieces(parsed.prepared)),
            ),
            once(store),
        )
    finally:
        parsed.prepared.unlink(missing_ok=True)
    return found


def get(session: Session, tenant: str, dataset_id: str) -> Dataset:
    """Return one.  Raises: NotFoundError."""
    owned = (Dataset.id == dataset_id, Dataset.tenant_id == tenant)
    row = session.scalar(select(Dataset).where(*owned))
    if row is None:
        raise NotFoundError("dataset", dataset_id)
    return row


def delete(uow: UnitOfWork, tenant: str, dataset_id: str) -> None:
    """Delete one (T12).  Raises: NotFoundError; ConflictError, if a live job needs it."""
    if not uow.once(transitions.delete_dataset(uow.session, dataset_id, tenant)):
        raise NotFoundError("dataset", dataset_id)


def list_page(
    session: Session, tenant: str, *, limit: int = 20, cursor: str | None = None
) -> Page[Dataset]:
    """Return a page, newest first."""
    return newest(session, Dataset, [Dataset.tenant_id == tenant], limit, cursor)


def content(database: Database, dataset: Dataset) -> Iterator[bytes]:
    """Yield the bytes as uploaded, piece by piece.  Raises: CorruptError."""
    return blobs.stream(database, dataset.blob)


def tensors(session: Session, dataset: Dataset, folder: Path) -> Tensors:
    """Return the prepared tensors by name, read-only, of a file in a folder of such.

    Raises: CorruptError; StorageFullError.
    """

    def read() -> tuple[Tensors, int]:
        pieces = partial(blobs.stream_within, session)
        path = _files(folder).fetch(dataset.prepared, pieces)
        return open_tensors(path), max(path.stat().st_size, LEAST_BYTES)

    return _mapped.get(dataset.prepared, read)


_files = cache(FileCache)  # each folder's knows what it has verified


def _same(session: Session, tenant: str, sha256: str, format_: str) -> Dataset | None:
    same = (Dataset.tenant_id == tenant, Dataset.sha256 == sha256, Dataset.format == format_)
    return session.scalar(select(Dataset).where(*same))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
