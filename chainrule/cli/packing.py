"""Arrays out of files and into an NPZ file, without any of them in memory as a whole."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.client.payload import IDX_NAME
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Array = np.ndarray[Any, Any]

__all__ = ["NpzWriter", "new_npz", "read_arrays", "write_npz"]

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LEVEL = 1  # of zlib: half the size for a tenth of the time of the most


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an NPZ file by name, or that of an NPY or IDX file as ``""``.

    Any of them may be packed by gzip.  Raises: DataError at the file; OSError.
    """
    name = path.name.lower().removesuffix(".gz")
    packed = name != path.name.lower()
    try:
        if IDX_NAME.search(name):
            data = gzip.decompress(path.read_bytes()) if packed else np.memmap(path, "u1", "r")
            return {"": _idx(data, path)}
        if not name.endswith((".npy", ".npz")):
            raise DataError.at(str(path), "must be .npy, .npz or idx, each also with .gz")
        file: Any = BytesIO(gzip.decompress(path.read_bytes())) if packed else path
        mapped = name.endswith(".npy") and not packed
        found = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        if name.endswith(".npy"):
            return {"": found}
        with found:
            return dict(found)
    except (ValueError, EOFError, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise DataError.at(str(path), f"cannot be read: {error}") from None


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays of equally many rows; the same ones give the same bytes.

    Raises: DataError at the array that has other rows or holds what are no numbers.
    """
    first = next(iter(arrays))
    for name, array in arrays.items():
        if not array.ndim or len(array) != len(arrays[first]):
            rows = len(array) if array.ndim else 0
            raise DataError.at(name, f"has {rows:,} rows, {first} has {len(arrays[first]):,}")
        if array.dtype.kind not in "biuf":
            raise DataError.at(name, f"must hold numbers, got {array.dtype}")
    with new_npz(path) as writer:
        for name, array in arrays.items():
            writer.add(name, array)


@contextmanager
def new_npz(path: Path) -> Iterator[NpzWriter]:
    """Write an NPZ file that appears only when whole."""
    part = path.with_name(path.name + ".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:
            yield NpzWriter(archive)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class NpzWriter:
    """An NPZ file that is being written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, array: Array) -> None:
        """Write an array; one that is mapped is read a piece at a time."""
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    def add_rows(self, name: str, shape: tuple[int, ...], rows: Iterator[Array]) -> None:
        """Write an array of bytes whose rows come one by one; ``shape`` is that of all of them."""
        head = {"descr": "|u1", "fortran_order": False, "shape": shape}
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, head)
            for row in rows:
                file.write(np.ascontiguousarray(row, np.uint8).data)


def _idx(data: bytes | Array, path: Path) -> Array:
    """Read what http://yann.lecun.com/exdb/mnist/ describes at its foot."""
    first = bytes(data[:4])
    if len(first) < 4 or first[:2] != b"\0\0" or first[2] not in IDX_TYPES:
        raise DataError.at(str(path), "is no idx file")
    start = 4 + 4 * first[3]
    if len(data) < start:
        raise DataError.at(str(path), "is cut short")
    shape = struct.unpack(f">{first[3]}I", bytes(data[4:start]))
    dtype = np.dtype(IDX_TYPES[first[2]])
    claimed, there = math.prod(shape) * dtype.itemsize, len(data) - start
    if claimed != there:
        raise DataError.at(str(path), f"says {shape}, {claimed:,} bytes, and {there:,} are there")
    return np.frombuffer(data, dtype, offset=start).reshape(shape)
