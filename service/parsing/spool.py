"""The prepared file while its columns come in side by side: each where it is to be in the end.

How many rows there are and what each column is can only be foreseen; where it turns out otherwise,
the file is written anew from what is in it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["Spool", "Tensor"]

_PIECE = 1 << 20  # values


class Spool:
    """A prepared file that grows; nothing is left of it, unless ``settle`` has been called."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _created(path)
        self._end = 0  # of what is taken
        self._map = np.empty(0, np.uint8)
        self._settled = False
        self._places: dict[str, int] = {}
        self._rows = 0

    def take(self, size: int) -> int:
        """Return where so many bytes can be written."""
        place = self._end
        self._end += size
        return place

    def write(self, place: int, values: Array) -> None:
        """Write values.  Raises: OSError."""
        _write(self._fd, place, np.ascontiguousarray(values).data.cast("B"))

    def read(self, place: int, rows: int, dtype: type[np.generic]) -> Array:
        """Return values, which stay in the file."""
        end = place + rows * np.dtype(dtype).itemsize
        if end > len(self._map):
            self._map = _mapped(self._fd)
        return self._map[place:end].view(dtype)

    def reserve(self, tensors: Mapping[str, Tensor], rows: int) -> None:
        """Give each tensor the place that it would have in a file of these and so many rows."""
        known = {name: list(map(np.array, tensor.pieces())) for name, tensor in tensors.items()}
        _, places, self._end = _head(tensors, rows)
        for name, tensor in tensors.items():
            tensor.move(places[name], rows)
            for values in known[name]:
                tensor.add(values)

    def settle(self, tensors: Mapping[str, Tensor], rows: int) -> None:
        """Make it the file of these tensors, of so many rows.  Raises: OSError.

        The same bytes as ``safetensors`` writes: wide types first, then by name.
        Source: the safetensors format, https://github.com/huggingface/safetensors#format
        """
        head, places, end = _head(tensors, rows)
        if any(tensor.whole_at() != places[name] for name, tensor in tensors.items()):
            self._write_anew(tensors, places)
        os.truncate(self._fd, end)
        _write(self._fd, 0, memoryview(head))
        self._map = _mapped(self._fd)
        self._places, self._rows, self._settled = places, rows, True

    def values(self, name: str, dtype: type[np.generic]) -> Array:
        """Return a tensor of the file that is settled; what is written to it is in the file."""
        place = self._places[name]
        return self._map[place : place + self._rows * np.dtype(dtype).itemsize].view(dtype)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
        if not self._settled:
            self._path.unlink(missing_ok=True)

    def _write_anew(self, tensors: Mapping[str, Tensor], places: Mapping[str, int]) -> None:
        self._path.unlink()
        new = _created(self._path)
        try:
            for name, tensor in tensors.items():
                place = places[name]
                for values in tensor.pieces():
                    _write(new, place, values.data.cast("B"))
                    place += values.nbytes
        except BaseException:
            os.close(new)
            raise
        os.close(self._fd)
        self._fd = new


class Tensor:
    """A column on its way into the prepared file: pieces of it, or rows without a value."""

    def __init__(self, spool: Spool, dtype: type[np.generic], missing: float) -> None:
        self._spool = spool
        self.dtype = dtype
        self._missing = missing
        self._size = np.dtype(dtype).itemsize
        self._pieces: list[tuple[int, int]] = []  # place (-1: none) and rows
        self._next = self._last = 0  # where there is room for it, and where no more

    def move(self, place: int, rows: int) -> None:
        """Begin again, in a place that has room for so many rows."""
        self._pieces.clear()
        self._next, self._last = place, place + rows * self._size

    def add(self, values: Array) -> None:
        """Add rows.  Raises: OSError."""
        size = len(values) * self._size
        if self._next + size > self._last:
            self._last = 0  # a later piece would be out of order
        place = self._next if self._last else self._spool.take(size)
        self._spool.write(place, values)
        self._next = place + size
        self._append(place, len(values))

    def skip(self, rows: int) -> None:
        """Add rows without a value."""
        if self._last:
            self.add(np.full(rows, self._missing, self.dtype))
        elif rows:
            self._append(-1, rows)

    def whole_at(self) -> int:
        """Return where all rows are one after the other; -1, if there is no such place."""
        return self._pieces[0][0] if len(self._pieces) == 1 else -1

    def pieces(self) -> Iterator[Array]:
        """Yield the rows, some at a time."""
        for place, rows in self._pieces:
            for start in range(0, rows, _PIECE):
                some = min(_PIECE, rows - start)
                if place < 0:
                    yield np.full(some, self._missing, self.dtype)
                else:
                    yield self._spool.read(place + start * self._size, some, self.dtype)

    def _append(self, place: int, rows: int) -> None:
        if self._pieces:
            last, before = self._pieces[-1]
            if last >= 0 and last + before * self._size == place:
                self._pieces[-1] = (last, before + rows)
                return
        self._pieces.append((place, rows))


def _head(tensors: Mapping[str, Tensor], rows: int) -> tuple[bytes, dict[str, int], int]:
    """Return how a file of tensors of so many rows begins, where each is, and where it ends."""
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
    head = len(text).to_bytes(8, "little") + text
    return head, {name: len(head) + start for name, start in starts.items()}, len(head) + end


def _created(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)


def _write(fd: int, place: int, left: memoryview) -> None:
    while left:  # a full disk takes a part, and refuses the rest
        written = os.pwrite(fd, left, place)
        left, place = left[written:], place + written


def _mapped(fd: int) -> Array:
    """Return a file's bytes; what is written to them is in the file."""
    with os.fdopen(os.dup(fd), "r+b") as file:
        return np.memmap(file, np.uint8, "r+").view(np.ndarray)
