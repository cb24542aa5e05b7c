"""Arrays that stay in their file: memory does not grow with a dataset."""

from __future__ import annotations

import json
import math
import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RowFile", "open_tensors"]

DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
}


def open_tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Map a safetensors file into memory; the arrays are read-only.

    Its own reader copies everything, and panics where memory is short.
    Source: the safetensors format, https://github.com/huggingface/safetensors#format
    """
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    begin = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:begin].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            flat = data[begin + first : begin + last].view(DTYPES[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"])
    return tensors


class RowFile:
    """An array of many rows in a file without a name, which goes when nobody maps it any more.

    Its room on the disk is taken at once.  Raises: OSError, if there is none.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype = shape, dtype
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by ``mapped``
        os.posix_fallocate(self._file.fileno(), 0, max(1, math.prod(shape) * dtype.itemsize))

    def append(self, rows: np.ndarray[Any, Any]) -> None:
        """Write the next rows."""
        self._file.write(np.ascontiguousarray(rows).data)

    def mapped(self) -> np.ndarray[Any, Any]:
        """Return all rows, read-only, once they are written."""
        with self._file:
            self._file.flush()
            return np.memmap(self._file, self._dtype, "r", shape=self._shape).view(np.ndarray)
