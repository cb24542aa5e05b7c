"""Raw bodies: a file of bounded size on this machine's disk, for as long as a request lasts."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from service.api.idempotency import name_upload
from service.api.schemas import media_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Request

__all__ = ["FORMATS", "MEDIA_TYPES", "spool_folder", "spooled", "sweep"]

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
STALE_S = 3600.0  # no upload lasts that long


def spool_folder(data_dir: Path) -> Path:
    """Return the folder for bodies that are on their way, made when it is not there."""
    folder = data_dir / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def sweep(folder: Path) -> None:
    """Remove what uploads left behind when their API process was killed."""
    for path in folder.glob("upload-*"):
        with suppress(FileNotFoundError):  # another process of ours sweeps too
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


@contextmanager
def spooled(request: Request, data_dir: Path) -> Iterator[tuple[Path, str]]:
    """Write the body to a file that goes with the request; yield its path and format.

    Raises: RequestError (415); RequestEntityTooLarge, as soon as too much has come; as
    ``name_upload``.
    """
    format_ = FORMATS[media_type(request, FORMATS)]
    with NamedTemporaryFile(dir=spool_folder(data_dir), prefix="upload-") as file:
        shutil.copyfileobj(request.stream, file, PIECE_BYTES)
        file.flush()
        name_upload(Path(file.name))
        yield Path(file.name), format_
