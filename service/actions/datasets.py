"""Datasets: kept as uploaded, and as the tensors that they were parsed into."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from chainrule.mapping import open_tensors
from service.actions.cache import Cache
from service.actions.once import plainly
from service.actions.paging import Page, newest
from service.errors import ConflictError, NotFoundError, UnreadyError
from service.ids import new_id
from service.store import blobs, transitions
from service.store.blobs import StagedBlob
from service.store.file_cache import FileCache
from service.store.tables import Dataset, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from sqlalchemy.orm import Session

    from service.actions.once import Once
    from service.broker.bell import Bell
    from service.parsing import Parser
    from service.store.database import Database, UnitOfWork

    Tensors = dict[str, np.ndarray[Any, Any]]

__all__ = [
    "Intake",
    "Upload",
    "adopt",
    "content",
    "create",
    "delete",
    "find",
    "get",
    "list_page",
    "parse_again",
    "parsing_jobs",
    "pieces",
    "ready",
    "tensors",
]

PIECE_BYTES = 2**20
PARSING_BYTES = 600 * 10**6  # what the process may take that parses for a job
PARSING_S = 60.0  # and how long: this, and so much for each byte
PARSING_S_PER_BYTE = 0.5e-6
LEAST_BYTES = 64 * 2**20  # that a file counts for: each is open, and not many may be
_mapped: Cache[Tensors] = Cache(max_bytes=8 << 30)  # of files: no memory, but room on the disk


@dataclass(frozen=True)
class Intake:
    """What makes datasets of files: those of up to ``inline_bytes`` at once, others by a job.

    ``folder`` is for files of the moment, ``cache`` the workers' folder where that is on this disk.
    """

    database: Database
    parser: Parser
    bell: Bell
    folder: Path
    inline_bytes: int
    cache: Path | None = None


@dataclass(frozen=True)
class Upload:
    """What is said of a file: whose it is, its name and format, and the types of its columns."""

    tenant: str
    name: str
    format: str
    types: dict[str, str] = field(default_factory=dict)


def create(
    intake: Intake,
    upload: Upload,
    path: Path,
    sha256: str | None = None,
    once: Once = plainly,
) -> tuple[Dataset, bool]:
    """Make a dataset of a file, or find the one that the same bytes made before.

    ``sha256``: of the file, if it is known. A large file's dataset is ``parsing`` until a job has
    done it. One that has failed is parsed again.
    Returns: the dataset, and whether this call has made it what it is.
    Raises: DataError, located in the file.
    """
    sha256 = sha256 or _hash(path)
    if found := _known(intake, upload, sha256, once):
        return found

    def stage() -> StagedBlob:
        return blobs.stage(intake.database, pieces(path))

    if path.stat().st_size > intake.inline_bytes:
        if intake.cache is not None:  # the job need not write it from the database again
            _files(intake.cache).link(path, sha256)
        return _enqueue(intake, upload, stage, once)
    return _parse(intake, upload, path, stage, once)


def adopt(
    intake: Intake, upload: Upload, staged: StagedBlob, once: Once = plainly
) -> tuple[Dataset, bool]:
    """Make a dataset of a file whose chunks are in the database; all else as ``create``.

    Raises: as ``create``; IntegrityError or CorruptError, if a chunk is gone.
    """
    if found := _known(intake, upload, staged.sha256, once):
        return found
    if staged.bytes > intake.inline_bytes:
        return _enqueue(intake, upload, lambda: staged, once)
    with _written(intake, staged) as path:
        return _parse(intake, upload, path, lambda: staged, once)


def parse_again(
    intake: Intake,
    tenant: str,
    dataset_id: str,
    types: dict[str, str] | None = None,
    once: Once = plainly,
) -> tuple[Dataset, bool]:
    """Make a dataset of the file of another one, which has failed or has other ``types`` (or None).

    It is that one itself, if its types are the same.  Raises: as ``adopt``; NotFoundError.
    """
    with intake.database.read() as session:
        row = get(session, tenant, dataset_id)
        names = tuple(blobs.chunks(session, row.blob))
    kept: dict[str, str] = json.loads(row.types)
    upload = Upload(tenant, row.name, row.format, kept if types is None else types)
    return adopt(intake, upload, StagedBlob(row.sha256, row.bytes, names), once)


def _known(intake: Intake, upload: Upload, sha256: str, once: Once) -> tuple[Dataset, bool] | None:
    """Return the dataset of the same bytes, unless there is none, or none that was parsed."""
    with intake.database.read() as session:
        known = find(session, upload, sha256)
    if known is None or known.state == "failed":
        return None

    def read(uow: UnitOfWork) -> tuple[Dataset, bool]:
        return get(uow.session, upload.tenant, known.id), False

    try:
        found: tuple[Dataset, bool] = intake.database.transact(once(read))
    except NotFoundError:  # deleted since
        return None
    return found


def _parse(
    intake: Intake, upload: Upload, path: Path, stage: Callable[[], StagedBlob], once: Once
) -> tuple[Dataset, bool]:
    """Parse a file here and now, and store what it gives.  Raises: DataError."""
    dataset_id = new_id("ds")
    types = transitions.canonical(upload.types)
    parsed = intake.parser.parse(path, upload.format, types=upload.types)

    def store(uow: UnitOfWork, staged: tuple[StagedBlob, StagedBlob]) -> tuple[Dataset, bool]:
        new = transitions.NewDataset(
            *staged, upload.name, upload.format, parsed.rows, parsed.schema, types, dataset_id
        )
        return transitions.store_dataset(uow.session, upload.tenant, new)

    def make() -> tuple[StagedBlob, StagedBlob]:
        return stage(), blobs.stage(intake.database, pieces(parsed.prepared))

    try:
        found: tuple[Dataset, bool] = blobs.attached(intake.database, make, once(store))
    finally:
        parsed.prepared.unlink(missing_ok=True)
    return found


def _enqueue(
    intake: Intake, upload: Upload, stage: Callable[[], StagedBlob], once: Once
) -> tuple[Dataset, bool]:
    """Store a file, and with it the job that parses it."""
    dataset_id, job_id = new_id("ds"), new_id("job")
    types = transitions.canonical(upload.types)

    def store(uow: UnitOfWork, staged: StagedBlob) -> tuple[Dataset, bool]:
        new = transitions.NewDataset(
            staged, None, upload.name, upload.format, None, None, types, dataset_id
        )
        row, fresh = transitions.store_dataset(uow.session, upload.tenant, new)
        known = uow.session.scalar(select(Job.id).where(Job.id == job_id))
        if known is None and fresh:
            config = _config(upload, row)
            transitions.enqueue_parsing(uow.session, row, job_id, config, PARSING_BYTES)
        if known is not None or fresh:
            uow.after_commit(lambda: intake.bell.ring(job_id))
        return row, known is not None or fresh

    found: tuple[Dataset, bool] = blobs.attached(intake.database, stage, once(store))
    return found


def _config(upload: Upload, row: Dataset) -> dict[str, Any]:
    return {
        "name": row.name,
        "dataset_id": row.id,
        "format": row.format,
        "types": upload.types,
        "max_seconds": round(PARSING_S + PARSING_S_PER_BYTE * row.bytes, 3),
    }


def parsing_jobs(session: Session, rows: Sequence[Dataset]) -> dict[str, Job]:
    """Return the newest job that parses, or was to parse, each of some datasets, by their ids."""
    ids = [row.id for row in rows if row.state != "ready"]
    if not ids:
        return {}
    wanted = select(Job).where(Job.dataset_id.in_(ids), Job.kind == "parsing").order_by(Job.seq)
    return {str(job.dataset_id): job for job in session.scalars(wanted)}


def ready(session: Session, tenant: str, dataset_id: str) -> Dataset:
    """Return one that is parsed.

    Raises: NotFoundError; UnreadyError, while it is being parsed; ConflictError, if it could not
    be.
    """
    row = get(session, tenant, dataset_id)
    if row.state == "parsing":
        raise UnreadyError(f"{dataset_id} is still being parsed")
    if row.error is not None:
        raise ConflictError(f"{dataset_id} could not be parsed: {row.error['detail']}")
    return row


def find(session: Session, upload: Upload, sha256: str) -> Dataset | None:
    """Return the dataset that the same bytes, read in the same way, have made before."""
    types = transitions.canonical(upload.types)
    return transitions.find_dataset(session, upload.tenant, sha256, upload.format, types)


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


@contextmanager
def _written(intake: Intake, staged: StagedBlob) -> Iterator[Path]:
    """Write staged bytes to a file for a moment.  Raises: CorruptError."""
    with NamedTemporaryFile(dir=intake.folder, prefix="upload-") as file:
        for piece in blobs.stream_staged(intake.database, staged):
            file.write(piece)
        file.flush()
        yield Path(file.name)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, some at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
