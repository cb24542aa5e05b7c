"""Raw bodies: a file of bounded size on this machine's disk, for as long as a request lasts."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from service.api.idempotency import name_upload
from service.api.schemas import media_type
from service.api.spool import PREFIX, spool_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Request

__all__ = ["FORMATS", "MEDIA_TYPES", "Spooled", "spooled"]

FORMATS = {
    "text/csv": "csv",
    "application/x-npz": "npz",
    "application/x-npy": "npy",
    "application/x-idx": "idx",
    "application/json": "json",
}
MEDIA_TYPES = {format_: media for media, format_ in FORMATS.items()} | {
    "ndjson": "application/x-ndjson",  # a result only
}
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Spooled:
    """A body that has come: where it is, what it says it is, and its SHA-256."""

    path: Path
    format: str
    sha256: str


@contextmanager
def spooled(request: Request, data_dir: Path) -> Iterator[Spooled]:
    """Have the body as a file that goes with the request.

    Raises: RequestError (415); RequestEntityTooLarge, as soon as too much has come; as
    ``name_upload``.
    """
    format_ = FORMATS[media_type(request, FORMATS)]
    with _file(request, data_dir) as path:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        name_upload(sha256)
        yield Spooled(path, format_, sha256)


@contextmanager
def _file(request: Request, data_dir: Path) -> Iterator[Path]:
    """Yield the file that the server keeps a large body in, or one that a small one is put into."""
    body = request.environ["wsgi.input"]
    if isinstance(name := getattr(body, "name", None), str):
        body.flush()
        yield Path(name)
        return
    with NamedTemporaryFile(dir=spool_folder(data_dir), prefix=PREFIX) as file:
        shutil.copyfileobj(request.stream, file, PIECE_BYTES)
        file.flush()
        yield Path(file.name)
