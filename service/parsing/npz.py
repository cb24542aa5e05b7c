"""The arrays of an NPZ file, by our own reading of the npy header: no pickles, no false sizes."""

from __future__ import annotations

import ast
import math
import re
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError, Problem
from chainrule.recipe.values import shown
from service.parsing.archive import Member, members, unpack
from service.parsing.result import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.kernels import Array

__all__ = ["read_npz"]

MAX_HEADER_BYTES = 4096
MAX_DIMENSIONS = 4
MAX_ROWS = 10_000_000
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


def read_npz(data: bytes) -> dict[str, Array]:
    """Return an NPZ file's arrays by name.  Raises: DataError at ``file``, naming the array."""
    return {member.name: _read(data, member) for member in members(data)}


def _read(data: bytes, member: Member) -> Array:
    blocks = unpack(data, member)
    head = bytearray()
    _fill(head, blocks, 12)
    start, length = _header_place(head, member.name)
    _fill(head, blocks, start + length)
    descr, fortran, shape = _parse_header(bytes(head[start : start + length]), member.name)
    stored = np.dtype(descr)
    claimed = math.prod(shape) * stored.itemsize
    if claimed != member.unpacked - start - length:
        there = member.unpacked - start - length
        detail = f"its header says {shape} of {descr}, {claimed:,} bytes, and {there:,} are there"
        raise _bad(member.name, detail)
    content = np.empty(claimed, np.uint8)
    done = 0
    for block in chain([bytes(head[start + length :])], blocks):
        content[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    flat = content.view(stored)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return np.ascontiguousarray(array, dtype=_DTYPES[descr[1:]])


def _fill(head: bytearray, blocks: Iterator[bytes], wanted: int) -> None:
    while len(head) < wanted and (block := next(blocks, None)) is not None:
        head += block


def _header_place(head: bytearray, name: str) -> tuple[int, int]:
    """Return where the header's text starts, and its length."""
    if not head.startswith(_MAGIC) or len(head) < 12:
        raise _bad(name, "it does not start as an npy file does")
    version = head[6]
    if version not in (1, 2, 3):
        raise _bad(name, f"its version {version} is not known")
    start = 10 if version == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > MAX_HEADER_BYTES:
        raise _bad(name, f"its header has {length:,} bytes, at most {MAX_HEADER_BYTES:,}")
    return start, length


def _parse_header(text: bytes, name: str) -> tuple[str, bool, tuple[int, ...]]:
    """Return type, order and shape, each as one that is allowed."""
    if re.search(rb"'\|?O\d*'", text):
        raise _bad(name, "it holds Python objects; only numbers are read (astype(float))")
    try:
        header = ast.literal_eval(text.decode().strip()) if _HEADER.fullmatch(text) else None
    except (ValueError, SyntaxError):
        header = None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise _bad(name, "its header is not valid; only plain numeric arrays are read")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or descr[:1] not in "<|=" or descr[1:] not in _DTYPES:
        allowed = "little-endian integers, float16, float32, float64 and bool"
        raise _bad(name, f"its type {shown(descr)} is not one of {allowed}")
    if not isinstance(fortran, bool) or not isinstance(shape, tuple):
        raise _bad(name, "its header is not valid")
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise _bad(name, f"it has {len(shape)} axes, from 1 to {MAX_DIMENSIONS} are read")
    if not all(isinstance(size, int) and 0 < size < 2**40 for size in shape):
        raise _bad(name, f"its shape {shown(str(shape))} is empty or too large")
    if shape[0] > MAX_ROWS:
        raise _bad(name, f"it has {shape[0]:,} rows, at most {MAX_ROWS:,}")
    return descr, fortran, shape


def _bad(name: str, detail: str) -> DataError:
    return DataError(Problem(FILE, f"array {name!r} cannot be read: {detail}"))
