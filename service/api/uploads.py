"""Raw bodies: a file of bounded size on this machine's disk, for as long as a request lasts."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from chainrule.errors import DataError
from service.api.gunzip import gunzip
from service.api.idempotency import is_promised, name_upload
from service.api.schemas import media_type
from service.api.spool import PREFIX, spool_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Request

    from service.settings import Settings

__all__ = ["FORMATS", "MEDIA_TYPES", "PART", "Spooled", "spooled", "spooled_part"]

FORMATS = {
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "application/x-ndjson": "ndjson",
    "application/vnd.apache.parquet": "parquet",
    "application/x-npz": "npz",
    "application/x-npy": "npy",
    "application/x-idx": "idx",
    "application/json": "json",
}
MEDIA_TYPES = {format_: media for media, format_ in FORMATS.items()}
PART = "application/octet-stream"
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Spooled:
    """A body that has come: where it is, what it says it is, and its SHA-256."""

    path: Path
    format: str
    sha256: str


@contextmanager
def spooled(request: Request, settings: Settings) -> Iterator[Spooled]:
    """Have the body as a file that goes with the request, unpacked if it came packed.

    Raises: RequestError (415); RequestEntityTooLarge, as soon as too much has come; as
    ``name_upload`` and ``gunzip``.
    """
    format_ = FORMATS[media_type(request, FORMATS)]
    with _unpacked(request, settings, name_upload) as (path, sha256):
        yield Spooled(path, format_, sha256)


@contextmanager
def spooled_part(request: Request, settings: Settings) -> Iterator[Path]:
    """Have a part of a file as ``spooled`` does.

    Raises: as ``spooled``; DataError at ``part``, if it is not what its digest says.
    """
    media_type(request, [PART])
    with _unpacked(request, settings, _check_digest) as (path, _):
        yield path


@contextmanager
def _unpacked(
    request: Request, settings: Settings, told: Callable[[str], object]
) -> Iterator[tuple[Path, str]]:
    """Yield a file and its SHA-256; ``told`` hears that of the body as it came."""
    with _file(request, settings.data_dir) as path:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        told(sha256)
        if request.headers.get("Content-Encoding", "identity").lower() != "gzip":
            yield path, sha256
            return
        with NamedTemporaryFile(dir=spool_folder(settings.data_dir), prefix=PREFIX) as unpacked:
            sha256 = gunzip(path, unpacked, settings.max_upload_bytes)
            yield Path(unpacked.name), sha256


def _check_digest(sha256: str) -> None:
    if not is_promised(sha256):
        raise DataError.at("part", "is not the one that its digest tells of")


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
