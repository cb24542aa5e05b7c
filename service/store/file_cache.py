"""Prepared datasets as files of this machine, by content hash: the API and trainers map them."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import CorruptError, StorageFullError, no_space

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["FileCache"]

BEAT_S = 1.0
PIECE_BYTES = 1 << 20
IN_USE_S = 3600.0  # a file touched since may be about to be opened; an open one may go


class FileCache:
    """A folder of verified files.  Any number of threads and processes may share it."""

    def __init__(self, folder: Path, *, limit_bytes: int = 4 << 30) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._of_each: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._verified: dict[str, tuple[int, int, int]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(
        self,
        sha256: str,
        read: Callable[[str], Iterable[bytes]],
        beat: Callable[[], object] = lambda: None,
    ) -> Path:
        """Return the path of the bytes of this hash; ``read`` gets them where they are not here.

        They come in pieces and are never in memory as a whole. ``beat`` is called now and then
        while another thread gets the same, and while a file that is here is verified.
        Raises: CorruptError, if what ``read`` returns has another hash; StorageFullError.
        """
        path = self._path(sha256)
        with self._held(sha256, beat):
            if self._is_sound(path, sha256, beat):
                os.utime(path)
            else:
                self._write(path, sha256, read(sha256))
            self._verified[sha256] = _identity(path)
        return path

    def scratch(self, name: str) -> Path:
        """Return where a file may be written that ``put`` is to take."""
        return self._folder / f"{name}.part"

    def put(self, path: Path, sha256: str) -> Path:
        """Take a file whose hash is known, and return where it is from now on."""
        place = self._path(sha256)
        with self._held(sha256, lambda: None):
            self._make_room()
            path.replace(place)
            self._verified[sha256] = _identity(place)
        return place

    def link(self, path: Path, sha256: str) -> None:
        """Have a file here too that is on the same disk, and that nobody writes to any more.

        Whoever fetches it verifies its hash. Nothing is lost where it cannot be had.
        """
        with self._held(sha256, lambda: None), suppress(OSError):
            self._path(sha256).hardlink_to(path)
            self._make_room()

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.safetensors"

    @contextmanager
    def _held(self, sha256: str, beat: Callable[[], object]) -> Iterator[None]:
        """Hold one file's lock: who wants a small file does not wait for a large one."""
        with self._lock:
            of_this = self._of_each[sha256]
        while not of_this.acquire(timeout=BEAT_S):
            beat()
        try:
            yield
        finally:
            of_this.release()

    def _is_sound(self, path: Path, sha256: str, beat: Callable[[], object]) -> bool:
        """Verify once in this process's life, and again when the file has changed."""
        try:
            if self._verified.get(sha256) == _identity(path):
                return True
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    digest.update(piece)
                    beat()
            return digest.hexdigest() == sha256
        except FileNotFoundError:
            return False

    def _write(self, path: Path, sha256: str, pieces: Iterable[bytes]) -> None:
        """Write a file that is whole or not there, whoever else writes it."""
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != sha256:
                raise CorruptError(f"the bytes read for {sha256} have another hash")
            self._make_room()
            Path(name).replace(path)
        except BaseException as error:
            Path(name).unlink(missing_ok=True)
            if no_space(error):
                raise StorageFullError from error
            raise

    def _make_room(self) -> None:
        """Remove the files used longest ago, until all fits, what has just been written too."""
        files = []
        for path in self._folder.iterdir():
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another worker made room
                continue
        total = sum(size for _, size, _ in files)
        for used_at, size, path in sorted(files):
            if total <= self._limit_bytes or used_at > time.time() - IN_USE_S:
                return
            path.unlink(missing_ok=True)
            total -= size


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
