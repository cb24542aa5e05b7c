"""Memory of steps that ask for the same again and again: planned once, then only looked up.

A plan is made as the first such step runs. What is asked for goes into the first gap of what is in
use then, so what was freed is taken over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.room import Span, Spans, first_gap, joined

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import DTypeLike

    from chainrule.kernels import Array

__all__ = ["LINE", "Memory", "Place"]

LINE = 64  # bytes: every array starts on a cache line


class Place:
    """How far a step has come: the array given last, and the addresses in use.

    ``then`` has the places that steps went on to from here, by what they asked for. A step that
    asks as another one did comes to the same places, and is given the same arrays.
    """

    __slots__ = ("array", "then", "used")

    def __init__(self, used: Spans, array: Any = None) -> None:
        self.used = used
        self.array = array
        self.then: dict[Any, Place] = {}


class _Piece:
    """Memory in one piece; ``reach`` is how far it was ever used, the rest is never touched."""

    def __init__(self, n_bytes: int) -> None:
        whole = np.empty(n_bytes + LINE, np.uint8)
        skipped = -whole.ctypes.data % LINE
        self.memory = whole[skipped : skipped + n_bytes]
        self.start: int = self.memory.ctypes.data
        self.stop = self.start + n_bytes
        self.reach = self.start


class Memory:
    """Pieces of memory, and arrays cut from them: two in use at the same place never overlap."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self.arrays: list[Array] = []

    def reserve(self, place: Place, n_bytes: int) -> None:
        """Have so much in one piece for what is asked for from a place on."""
        if not any(_gap(piece, place.used, n_bytes) is not None for piece in self._pieces):
            self._pieces.append(_Piece(_up(n_bytes)))

    def take(self, place: Place, shape: tuple[int, ...], dtype: DTypeLike) -> Place:
        """Return the place after an array of any content was asked for."""
        of = np.dtype(dtype)
        n_bytes = math.prod(shape) * of.itemsize
        size = _up(n_bytes)
        self.reserve(place, size)
        piece, start = next(
            (piece, start)
            for piece in self._pieces
            if (start := _gap(piece, place.used, size)) is not None
        )
        piece.reach = max(piece.reach, start + size)
        offset = start - piece.start
        array = piece.memory[offset : offset + n_bytes].view(of).reshape(shape)
        self.arrays.append(array)
        return Place(joined([*place.used, (start, start + size)]), array)

    def keep(self, place: Place, arrays: Iterable[Array]) -> Place:
        """Return the place where what is in use is that of another one, and these arrays."""
        return Place(joined([*place.used, *map(_lines, arrays)]))

    @property
    def n_bytes(self) -> int:
        """How much of the memory was ever used."""
        return sum(piece.reach - piece.start for piece in self._pieces)


def _gap(piece: _Piece, used: Spans, size: int) -> int | None:
    """Return where the first gap of a size begins in a piece; None, if there is none."""
    start = first_gap(used, size, piece.start)
    return start if start + size <= piece.stop else None


def _lines(array: Array) -> Span:
    """Return the addresses of an array, up to whole cache lines; it may be no memory of ours."""
    start, stop = np.lib.array_utils.byte_bounds(array)
    return start - start % LINE, _up(stop)


def _up(n_bytes: int) -> int:
    return -(-n_bytes // LINE) * LINE
