"""Files on their way to the service: small ones at once, large ones in parts that are kept."""

from __future__ import annotations

import base64
import gzip
import hashlib
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from chainrule.errors import ApiError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from chainrule.client.transport import Transport

    Tell = Callable[[str, float], object]

__all__ = ["PARTS_FROM_BYTES", "send", "send_parts"]

PARTS_FROM_BYTES = 32 * 2**20
PATIENCE_S = 60.0  # how long an upload outlives a service that is away
PAUSE_S = 1.0
LEVEL = 1  # of the parts of a file that came packed


def send(
    transport: Transport, source: Path | bytes, media_type: str, query: dict[str, str]
) -> dict[str, Any]:
    """Send a file as one request, a ``.gz`` as it is; return the dataset."""
    headers = {"Content-Type": media_type}
    if _is_packed(source):
        headers["Content-Encoding"] = "gzip"
    return transport.json("POST", "/v1/datasets", params=query, content=source, headers=headers)


def send_parts(
    transport: Transport, source: Path | bytes, request: dict[str, Any], tell: Tell
) -> dict[str, Any]:
    """Send a file part by part, only those that are not there; return the dataset.

    Whatever has failed before, in this process or another one: what the service has of the same
    bytes is not sent again. ``tell`` hears ``("upload", share)``.
    Raises: UnreachableError, once the service has been away for a minute; ApiError.
    """
    packed = _is_packed(source)
    with _opened(source) as file:
        size, sha256 = _measure(file)
        document = {**request, "bytes": size, "sha256": sha256}
        upload = transport.json("POST", "/v1/uploads", json=document)
        place, step = f"/v1/uploads/{upload['id']}", upload["part_bytes"]
        if upload["dataset_id"] is None:
            there = {part["number"] for part in upload["parts"]}
            for number in range(1, -(-size // step) + 1):
                if number not in there:
                    file.seek((number - 1) * step)
                    _patiently(transport, f"{place}/parts/{number}", file.read(step), packed)
                tell("upload", min(number * step, size) / size)
    return transport.json("POST", f"{place}/complete")


def _patiently(transport: Transport, path: str, data: bytes, packed: bool) -> None:
    """Send a part until it is there, or the service has been away for too long."""
    data = gzip.compress(data, LEVEL, mtime=0) if packed else data
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
    if packed:
        headers["Content-Encoding"] = "gzip"
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            transport.request("PUT", path, content=data, headers=headers, pure=True)
        except (ApiError, UnreachableError) as error:
            away = isinstance(error, UnreachableError) or error.status >= 500
            if not away or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)
        else:
            return


@contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO]:
    """Open a file as the service is to have it: unpacked."""
    if isinstance(source, Path) and not _is_packed(source):
        with source.open("rb") as file:
            yield file
        return
    with TemporaryFile() as spool:
        if isinstance(source, bytes):
            spool.write(source)
        else:
            with gzip.open(source) as packed:
                shutil.copyfileobj(packed, spool, 2**20)
        spool.seek(0)
        yield spool


def _measure(file: BinaryIO) -> tuple[int, str]:
    digest = hashlib.sha256()
    while piece := file.read(2**20):
        digest.update(piece)
    return file.tell(), digest.hexdigest()


def _is_packed(source: Path | bytes) -> bool:
    return isinstance(source, Path) and source.suffix.lower() == ".gz"
