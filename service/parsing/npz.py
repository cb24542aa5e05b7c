"""The arrays of an NPZ file, unpacked a block at a time straight into the prepared file."""

from __future__ import annotations

from contextlib import closing
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from service.parsing.archive import Member, members, unpack
from service.parsing.npy import HEAD_BYTES, Head, read_head
from service.parsing.streamed import Streamed, row_blocks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from mmap import mmap
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["read_npz"]


def read_npz(data: bytes | mmap, folder: Path) -> list[Streamed]:
    """Return an NPZ file's arrays, not yet unpacked; ``folder`` takes those in Fortran's order.

    Raises: DataError at ``file``, naming the array.
    """
    return [_array(data, member, folder) for member in members(data)]


def _array(data: bytes | mmap, member: Member, folder: Path) -> Streamed:
    head = read_head(_first(data, member), member.unpacked, member.name)

    def blocks() -> Iterator[Array]:
        if head.fortran:
            return _transposed(data, member, head, folder)
        return _values(data, member, head)

    return Streamed(member.name, head.shape, head.kept, blocks)


def _first(data: bytes | mmap, member: Member) -> bytes:
    first = b""
    with closing(_unpacked(data, member)) as blocks:
        for block in blocks:
            first += block
            if len(first) >= HEAD_BYTES:
                break
    return first[:HEAD_BYTES]


def _unpacked(data: bytes | mmap, member: Member, start: int = 0) -> Generator[bytes]:
    """Yield a member's bytes from ``start`` on."""
    for block in unpack(data, member):
        yield block[start:]
        start = max(0, start - len(block))


def _values(data: bytes | mmap, member: Member, head: Head) -> Iterator[Array]:
    rest = b""
    for block in _unpacked(data, member, head.start):
        rest += block
        whole = len(rest) - len(rest) % head.stored.itemsize
        yield np.frombuffer(rest[:whole], head.stored).astype(head.kept, copy=False)
        rest = rest[whole:]


def _transposed(data: bytes | mmap, member: Member, head: Head, folder: Path) -> Iterator[Array]:
    """Unpack to a file of its own, in which rows are found wherever they lie."""
    with TemporaryFile(dir=folder) as file:
        for block in _unpacked(data, member, head.start):
            file.write(block)
        file.flush()
        flat = np.memmap(file, head.stored, "r")
        yield from row_blocks(flat.reshape(head.shape[::-1]).T, head.kept)
