"""Windows that slide over images: how many there are, and which cells each of them covers.

A sequence is an image of one row. Padding is TensorFlow's: ``same`` gives ceil(size / stride)
windows, and an odd cell of padding goes to the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError

__all__ = ["Axis", "Padding", "Pair", "Single", "Size", "Tap", "Windows", "couple", "slide"]

Padding = Literal["valid", "same"]
Size = Annotated[int, Field(ge=1, le=1024)]
Pair = Size | Annotated[list[Size], Field(min_length=2, max_length=2)]
Single = Size | Annotated[list[Size], Field(min_length=1, max_length=1)]

# A block of images: as many as stay in the cache.
_PADDED_VALUES, _DEPTHWISE_VALUES = 1 << 15, 1 << 16
# Filters, and windows of Winograd's convolution: no compiled kernel takes more of them at once.
_PANEL, _TILES = 32, 48
_LINE = 16  # values of a cache line

Tap = tuple[int, tuple[slice, slice], tuple[slice, slice]]


@dataclass(frozen=True)
class Axis:
    """One axis of the cells under the windows.

    ``size`` cells, ``before`` and ``after`` of padding, ``windows`` of ``kernel`` taps each.
    """

    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    windows: int = 1

    @property
    def padded(self) -> int:
        """The cells with their padding."""
        return self.before + self.size + self.after

    @property
    def surplus(self) -> int:
        """The windows on either side that would hold a cell, were they there."""
        lead = (-(-self.kernel // self.stride) - 1) * self.dilation - self.before // self.stride
        last = (self.size - 1 + self.before) // self.stride
        return max(lead, 0) + max(last + 1 - self.windows, 0)

    def tap(self, place: int) -> tuple[slice, slice]:
        """Return the windows whose tap at a place is a real cell, and these cells."""
        offset = place * self.dilation - self.before
        first = max(0, -(offset // self.stride)) if offset < 0 else 0
        last = min(self.windows, (self.size - 1 - offset) // self.stride + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        start = first * self.stride + offset
        stop = (last - 1) * self.stride + offset + 1
        return slice(first, last), slice(start, stop, self.stride)


@dataclass(frozen=True)
class Windows:
    """The windows over an image: its rows and its columns."""

    rows: Axis
    columns: Axis

    @property
    def count(self) -> int:
        """The windows of one image."""
        return self.rows.windows * self.columns.windows

    @property
    def size(self) -> int:
        """The taps of one window."""
        return self.rows.kernel * self.columns.kernel

    @property
    def cells(self) -> int:
        """The real cells of one image."""
        return self.rows.size * self.columns.size

    @property
    def padded_cells(self) -> int:
        """The cells with their padding; 0, if there is none."""
        cells = self.rows.padded * self.columns.padded
        return cells if cells > self.cells else 0

    @property
    def over_padded(self) -> Windows:
        """The same windows over an image whose padding is there as cells."""
        return Windows(_inflated(self.rows), _inflated(self.columns))

    @property
    def place_bytes(self) -> int:
        """The bytes of a whole number that tells a window's taps apart."""
        return 1 if self.size <= 1 << 8 else 2 if self.size <= 1 << 16 else 4

    @property
    def is_disjoint(self) -> bool:
        """Whether no cell is in two windows."""
        return all(
            axis.stride >= axis.kernel or axis.windows == 1 for axis in (self.rows, self.columns)
        )

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Each tap's number, the windows where it is a real cell, and these cells."""
        return _taps(self)

    @property
    def suits_winograd(self) -> bool:
        """Whether two windows beside each other have most cells in common, as those of 3x3 have."""
        sizes = {(a.kernel, a.stride, a.dilation) for a in (self.rows, self.columns)}
        return sizes == {(3, 1, 1)}

    def work(self, channels: int, filters: int, groups: int = 1) -> int:
        """Return how many values a convolution works in: padded images, a kernel, a table.

        ``channels`` are those of a group, ``filters`` those of all of them.
        """
        own, (rows, columns) = filters // groups, (self.rows, self.columns)
        image = max(
            (rows.padded + 1) * (columns.padded + 1) * channels * groups,
            (rows.windows + rows.surplus + 1) * (columns.windows + columns.surplus + 1) * filters,
        )
        wide = _up(channels, _PANEL), _up(own, _PANEL)
        panels = groups * max(channels * wide[1], own * wide[0])
        table = 2 * max(channels, own)  # whole numbers of 64 bits
        fixed = max(1, _PADDED_VALUES // image) * image + self.size * table + 1
        if self.suits_winograd and groups == 1 and channels % 4 == filters % 4 == 0:
            return fixed + 36 * (panels + _TILES * sum(wide) + 2 * _LINE)
        return fixed + self.size * panels

    def depthwise_rows(self, channels: int) -> int:
        """Return of how many images a depthwise convolution makes the products at once."""
        return max(1, _DEPTHWISE_VALUES // (max(self.cells, self.count) * channels))


def _up(count: int, step: int) -> int:
    return -(-count // step) * step


def _inflated(axis: Axis) -> Axis:
    return replace(axis, size=axis.padded, before=0, after=0)


@lru_cache(maxsize=256)
def _taps(windows: Windows) -> tuple[Tap, ...]:
    found = []
    for i in range(windows.rows.kernel):
        out_rows, in_rows = windows.rows.tap(i)
        for j in range(windows.columns.kernel):
            out_columns, in_columns = windows.columns.tap(j)
            place = i * windows.columns.kernel + j
            if out_rows.stop and out_columns.stop:
                found.append((place, (out_rows, out_columns), (in_rows, in_columns)))
    return tuple(found)


def couple(value: int | list[int]) -> tuple[int, int]:
    """Return a size along rows and columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@lru_cache(maxsize=256)
def slide(  # noqa: PLR0913, PLR0917  (a window's own numbers)
    size: int, kernel: int, stride: int, dilation: int, padding: str, field: str
) -> Axis:
    """Place windows along an axis.

    Raises: SpecError, at ``field``, if not one fits.
    """
    extent = (kernel - 1) * dilation + 1
    if padding == "valid":
        if extent > size:
            raise SpecError(Problem(field, f"a window of {extent} does not fit the input's {size}"))
        return Axis(size, kernel, stride, dilation, 0, 0, (size - extent) // stride + 1)
    windows = math.ceil(size / stride)
    total = max((windows - 1) * stride + extent - size, 0)
    before = extent - 1 if padding == "causal" else total // 2
    return Axis(size, kernel, stride, dilation, before, max(total - before, 0), windows)
