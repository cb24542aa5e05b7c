"""A file as UTF-8 text, piece by piece: its encoding found, every bad byte located."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Self

import numpy as np

from chainrule.errors import DataError
from service.parsing.result import FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

__all__ = ["LEGACY", "UTF8", "LegacyEncodingError", "TextFile", "count_lines"]

_PIECE_BYTES = 1 << 20
_LF = ord("\n")
UTF8, LEGACY = "UTF-8", "Windows-1252"
_BOMS = {codecs.BOM_UTF8: UTF8, codecs.BOM_UTF16_LE: "UTF-16-LE", codecs.BOM_UTF16_BE: "UTF-16-BE"}
_OTHER_FILES = {
    b"\x1f\x8b": "gzip: send it with Content-Encoding: gzip",
    b"PK\3\4": "a zip archive or a spreadsheet: save it as CSV",
    b"PAR1": "Parquet: send it as that",
    b"\x93NUMPY": "NPY: send it as that",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet: save it as CSV",
    b"%PDF": "a PDF document",
}
# What no text holds, in whatever encoding: a file with these was never Windows-1252.
_CONTROLS = bytes(range(9)) + bytes(range(14, 27)) + bytes(range(28, 32)) + b"\x7f"


class LegacyEncodingError(Exception):
    """The file is no UTF-8, and no character beyond ASCII before that says that it should be.

    ``line``: where, from 1.
    """

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class TextFile:
    """An open file that reads as UTF-8 without a byte order mark.

    ``encoding``: what it is read as; None finds out UTF-8 or UTF-16. ``progress`` is told the
    fraction that has been read.
    Raises: DataError at ``file``, naming the line; LegacyEncodingError.
    """

    def __init__(
        self,
        path: Path,
        encoding: str | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> None:
        self._file = path.open("rb")
        self._size = max(1, path.stat().st_size)
        self._progress = progress
        head = self._file.read(8)
        self._looks = next((n for start, n in _OTHER_FILES.items() if head.startswith(start)), "")
        mark = next((mark for mark in _BOMS if head.startswith(mark)), b"")
        self.encoding = encoding or _BOMS.get(mark, UTF8)
        self._marked = bool(mark)
        self._head = head if self.encoding == LEGACY else head[len(mark) :]
        self._decoder = codecs.getincrementaldecoder(self.encoding)()
        self._read = len(head)
        self._path = path
        self._given = 0  # bytes of text
        self._ascii = True
        self._ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Return the next bytes, about ``size`` of them; none at the end of the file."""
        if self._ended:
            return b""
        data = self._head + self._file.read(max(1, size - len(self._head)))
        self._read += len(data) - len(self._head)
        self._ended = not data or len(data) < size
        self._head = b""
        text = self._decoded(data)
        if (nul := text.find(b"\0")) >= 0:
            raise self._bad("has a NUL byte", text[:nul])
        self._given += len(text)
        if self._progress is not None:
            self._progress(min(1.0, self._read / self._size))
        # Of UTF-16 a piece of a character may be all that was read.
        return text if text or self._ended else self.read(size)

    def _decoded(self, data: bytes) -> bytes:
        if self.encoding == UTF8 and data.isascii() and not self._decoder.getstate()[0]:
            return data
        try:
            text = self._decoder.decode(data, self._ended)
        except UnicodeDecodeError as error:
            raise self._undecodable(error.object[: error.start]) from None
        if self.encoding == UTF8:
            self._ascii = self._ascii and text.isascii()
            return data
        if self.encoding == LEGACY and len(data.translate(None, _CONTROLS)) < len(data):
            place = min(data.find(mark) for mark in _CONTROLS if mark in data)
            raise self._bad("is neither UTF-8 nor Windows-1252", data[:place])
        return text.encode()

    def _undecodable(self, before: bytes) -> Exception:
        if self.encoding == LEGACY:
            return self._bad("is neither UTF-8 nor Windows-1252", before)
        if self.encoding != UTF8:
            return self._bad("is not UTF-16", before.decode(self.encoding, "replace").encode())
        if self._ascii and before.isascii() and not self._marked and not self._looks:
            return LegacyEncodingError(self._line(before))
        return self._bad("is not UTF-8", before)

    def _bad(self, detail: str, before: bytes) -> DataError:
        looks = self._looks
        if "NUL" in detail and len(before) < 2 and not looks:
            looks = "UTF-16 without a byte order mark: save it as UTF-8"
        hint = f"; it looks like {looks}" if looks else ""
        return DataError.at(FILE, f"line {self._line(before)}: {detail}{hint}")

    def _line(self, before: bytes) -> int:
        """Return the line where the text goes on after ``before``; counted only when asked."""
        line, left = 1 + before.count(b"\n"), self._given
        with TextFile(self._path, self.encoding) as again:
            while left > 0 and (piece := again.read(_PIECE_BYTES)):
                line += piece[:left].count(b"\n")
                left -= len(piece)
        return line


def count_lines(path: Path) -> int:
    """Return how many lines a file has, as far as its bytes tell.  Raises: OSError."""
    lines, last, block = 0, _LF, bytearray(_PIECE_BYTES)
    array = np.frombuffer(block, np.uint8)
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(block):
            lines += int(np.count_nonzero(array[:size] == _LF))
            last = block[size - 1]
    return lines + (last != _LF)
