"""Columns in a file while they come in, block by block, and the prepared file made of them."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["Spool", "Tensor", "begin_prepared", "map_tensor", "write_tensor"]

_PIECE = 1 << 20  # values


class Spool:
    """Pieces of columns, one after the other in a file without a name."""

    def __init__(self, path: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  # closed by close()
        self._end = 0
        self._map = np.empty(0, np.uint8)

    def add(self, values: Array) -> int:
        """Keep a piece; return where it is.  Raises: OSError."""
        place = self._end
        self._file.write(np.ascontiguousarray(values).data)
        self._end += values.nbytes
        return place

    def read(self, place: int, rows: int, dtype: type[np.generic]) -> Array:
        """Return a piece, which stays in the file."""
        end = place + rows * np.dtype(dtype).itemsize
        if end > len(self._map):
            self._file.flush()
            self._map = np.memmap(self._file, np.uint8, "r").view(np.ndarray)
        return self._map[place:end].view(dtype)

    def close(self) -> None:
        """Give the room back."""
        self._file.close()


class Tensor:
    """A column on its way into the prepared file: pieces of it, or rows without a value."""

    def __init__(self, spool: Spool, dtype: type[np.generic], missing: float) -> None:
        self._spool = spool
        self.dtype = dtype
        self._missing = missing
        self._pieces: list[tuple[int, int]] = []  # place (-1: none) and rows

    def add(self, values: Array) -> None:
        """Add rows.  Raises: OSError."""
        self._pieces.append((self._spool.add(values), len(values)))

    def skip(self, rows: int) -> None:
        """Add rows without a value."""
        if rows:
            self._pieces.append((-1, rows))

    def pieces(self) -> Iterator[Array]:
        """Yield the rows, some at a time."""
        for place, rows in self._pieces:
            for start in range(0, rows, _PIECE):
                some = min(_PIECE, rows - start)
                if place < 0:
                    yield np.full(some, self._missing, self.dtype)
                else:
                    at = place + start * np.dtype(self.dtype).itemsize
                    yield self._spool.read(at, some, self.dtype)


def begin_prepared(path: Path, rows: int, tensors: dict[str, Tensor]) -> dict[str, int]:
    """Write the head of a file of tensors of so many rows; return where each is to begin.

    The same bytes as ``safetensors`` writes: wide types first, then by name.  Raises: OSError.
    Source: the safetensors format, https://github.com/huggingface/safetensors#format
    """
    order = sorted(tensors, key=lambda name: (-np.dtype(tensors[name].dtype).itemsize, name))
    entries: dict[str, dict[str, object]] = {}
    starts: dict[str, int] = {}
    end = 0
    for name in order:
        size = np.dtype(tensors[name].dtype).itemsize
        start, end = end, end + size * rows
        starts[name] = start
        dtype = {8: "F64", 4: "I32"}[size]
        entries[name] = {"dtype": dtype, "shape": [rows], "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return {name: 8 + len(text) + start for name, start in starts.items()}


def write_tensor(path: Path, place: int, pieces: Iterable[Array]) -> None:
    """Write a tensor where it is to begin; others may be written meanwhile.  Raises: OSError."""
    with path.open("r+b", buffering=0) as file:
        file.seek(place)
        for piece in pieces:
            left = np.ascontiguousarray(piece).data.cast("B")
            while left:  # a full disk takes a part, and refuses the rest
                left = left[file.write(left) :]


def map_tensor(path: Path, place: int, rows: int, dtype: type[np.generic]) -> Array:
    """Return a tensor of a prepared file, which stays there."""
    return np.memmap(path, dtype, "r", place, (rows,)).view(np.ndarray)
