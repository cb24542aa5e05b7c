"""The folder of bodies that are on their way."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PREFIX", "spool_folder", "sweep"]

PREFIX = "upload-"  # of the names of its files
STALE_S = 3600.0  # no upload is silent for that long


def spool_folder(data_dir: Path) -> Path:
    """Return the folder for bodies that are on their way, made when it is not there."""
    folder = data_dir / "uploads"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def sweep(folder: Path) -> None:
    """Remove what uploads left behind when their API process was killed."""
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # another process of ours sweeps too
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()
