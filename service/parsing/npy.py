"""NPY files by our own reading of their header: no pickles, no false sizes, a block at a time."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError, Problem
from chainrule.recipe.values import shown
from service.parsing.result import FILE
from service.parsing.streamed import Streamed, in_order, row_blocks

if TYPE_CHECKING:
    from mmap import mmap
    from typing import Any

__all__ = ["HEAD_BYTES", "Head", "bad_array", "check_shape", "read_head", "read_npy"]

NAME = "inputs"  # of the one array that a file holds
MAX_HEADER_BYTES = 4096
HEAD_BYTES = 12 + MAX_HEADER_BYTES
MAX_DIMENSIONS = 4
MAX_ROWS = 100_000_000
_MAGIC = b"\x93NUMPY"
_DTYPES = {
    **{f"{kind}{size}": f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)},
    "f4": "f4",
    "f8": "f8",
    "f2": "f4",
    "b1": "u1",
}
# What numpy writes, and its kin: no other bracket or word ever reaches the evaluator.
_HEADER = re.compile(rb"\{[\w '\":,<>|=]*\([0-9L, ]*\)[\w '\":,<>|=]*\} *\n?")


@dataclass(frozen=True)
class Head:
    """What an npy header says; the values begin at byte ``start``."""

    stored: np.dtype[Any]
    kept: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    start: int


def read_npy(data: bytes | mmap) -> Streamed:
    """Return the array of an NPY file, not yet read.  Raises: DataError at ``file``."""
    head = read_head(data[:HEAD_BYTES], len(data), NAME)

    def values() -> np.ndarray[Any, Any]:
        flat = np.frombuffer(data, head.stored, offset=head.start)
        return flat.reshape(head.shape[::-1]).T if head.fortran else flat.reshape(head.shape)

    return Streamed(NAME, head.shape, head.kept, lambda: row_blocks(values(), head.kept))


def read_head(first: bytes, size: int, name: str) -> Head:
    """Read the header of an npy file of ``size`` bytes from its ``first`` ones.

    Raises: DataError at ``file``, naming the array.
    """
    start, length = _header_place(first, name)
    descr, fortran, shape = _parse_header(first[start : start + length], name)
    stored = np.dtype(descr)
    claimed, there = math.prod(shape) * stored.itemsize, size - start - length
    if claimed != there:
        detail = f"its header says {shape} of {descr}, {claimed:,} bytes, and {there:,} are there"
        raise bad_array(name, detail)
    fortran = fortran and not in_order(shape)
    return Head(stored, np.dtype(_DTYPES[descr[1:]]), fortran, shape, start + length)


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse an array without rows or values, or of too many.  Raises: DataError at ``file``."""
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise bad_array(name, f"it has {len(shape)} axes, from 1 to {MAX_DIMENSIONS} are read")
    if not all(isinstance(size, int) and 0 < size < 2**40 for size in shape):
        raise bad_array(name, f"its shape {shown(str(shape))} is empty or too large")
    if shape[0] > MAX_ROWS:
        raise bad_array(name, f"it has {shape[0]:,} rows, at most {MAX_ROWS:,}")


def bad_array(name: str, detail: str) -> DataError:
    """Return the complaint about an array."""
    return DataError(Problem(FILE, f"array {name!r} cannot be read: {detail}"))


def _header_place(first: bytes, name: str) -> tuple[int, int]:
    """Return where the header's text starts, and its length."""
    if not first.startswith(_MAGIC) or len(first) < 12:
        raise bad_array(name, "it does not start as an npy file does")
    version = first[6]
    if version not in (1, 2, 3):
        raise bad_array(name, f"its version {version} is not known")
    start = 10 if version == 1 else 12
    length = int.from_bytes(first[8:start], "little")
    if length > MAX_HEADER_BYTES:
        raise bad_array(name, f"its header has {length:,} bytes, at most {MAX_HEADER_BYTES:,}")
    return start, length


def _parse_header(text: bytes, name: str) -> tuple[str, bool, tuple[int, ...]]:
    """Return type, order and shape, each as one that is allowed."""
    if re.search(rb"'\|?O\d*'", text):
        raise bad_array(name, "it holds Python objects; only numbers are read (astype(float))")
    try:
        header = ast.literal_eval(text.decode().strip()) if _HEADER.fullmatch(text) else None
    except (ValueError, SyntaxError):
        header = None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise bad_array(name, "its header is not valid; only plain numeric arrays are read")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or descr[:1] not in "<>|=" or descr[1:] not in _DTYPES:
        allowed = "integers, float16, float32, float64 and bool"
        raise bad_array(name, f"its type {shown(descr)} is not one of {allowed}")
    if not isinstance(fortran, bool) or not isinstance(shape, tuple):
        raise bad_array(name, "its header is not valid")
    check_shape(shape, name)
    return descr, fortran, shape
