"""IDX files, as the MNIST images and labels come.

Source: the format at the foot of http://yann.lecun.com/exdb/mnist/: two zero bytes, the type, the
number of axes, their sizes as big-endian 32-bit integers, and the values, big-endian, in C order.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import numpy as np

from service.parsing.npy import NAME, bad_array, check_shape
from service.parsing.streamed import Streamed, row_blocks

if TYPE_CHECKING:
    from mmap import mmap

__all__ = ["read_idx"]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(data: bytes | mmap) -> Streamed:
    """Return the array of an IDX file, not yet read.  Raises: DataError at ``file``."""
    first = data[:4]
    if len(first) < 4 or first[:2] != b"\0\0":
        raise bad_array(NAME, "it does not start as an idx file does (unpack a .gz first)")
    kind, axes = first[2], first[3]
    if kind not in _TYPES:
        raise bad_array(NAME, f"its type 0x{kind:02x} is not one of the format's")
    start = 4 + 4 * axes
    if len(data) < start:
        raise bad_array(NAME, "its header is cut short")
    shape = struct.unpack(f">{axes}I", data[4:start])
    check_shape(shape, NAME)
    stored = np.dtype(_TYPES[kind])
    claimed, there = math.prod(shape) * stored.itemsize, len(data) - start
    if claimed != there:
        detail = f"its header says {shape}, {claimed:,} bytes, and {there:,} are there"
        raise bad_array(NAME, detail)
    kept = stored.newbyteorder("=")

    def values() -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        return np.frombuffer(data, stored, offset=start).reshape(shape)

    return Streamed(NAME, shape, kept, lambda: row_blocks(values(), kept))
