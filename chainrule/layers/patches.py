"""The scratch memory of a convolution: the windows of a block of rows at a time.

The columns of a whole batch would be far larger than the batch; those of a block stay in the
cache, and making them once more in the backward pass costs less than keeping them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels

if TYPE_CHECKING:
    from chainrule.spec.layers.sliding import Windows
    from chainrule.tape import Array, Tape

__all__ = ["Patches", "accumulate", "blocks"]


@dataclass(frozen=True)
class Patches:
    """Columns of a block of images with so many channels each.

    Shapes: cols (rows, window rows, window columns, kernel rows, kernel columns, channels), padded
    (rows, padded height, padded width, channels).
    """

    windows: Windows
    cols: Array
    padded: Array | None

    @classmethod
    def take(cls, windows: Windows, channels: int, tape: Tape) -> Patches:
        """Take the memory from the tape."""
        rows, columns = windows.rows, windows.columns
        size = windows.block_rows(channels)
        cols = (size, rows.windows, columns.windows, rows.kernel, columns.kernel, channels)
        padded = (size, rows.padded, columns.padded, channels)
        return cls(windows, tape.empty(cols), tape.empty(padded) if windows.padded_cells else None)

    def blocks(self, rows: int) -> list[slice]:
        """Cut a batch in blocks."""
        return blocks(rows, len(self.cols))

    def columns(self, images: Array) -> Array:
        """Return the columns of a block of images.

        Shapes: (rows, height, width, channels) -> (rows * windows, taps * channels).
        """
        cols = self.cols[: len(images)]
        padded = None if self.padded is None else self.padded[: len(images)]
        kernels.im2col(images, self.windows, cols, padded)
        return cols.reshape(len(images) * self.windows.count, -1)

    def add(self, cells: Array, weights: Array, images: Array) -> None:
        """Add each window's cell times its weights to a block of images.

        Shapes: cells (rows * windows, n), weights (taps * channels, n), images as ``columns``.
        """
        cols = self.cols[: len(images)]
        np.matmul(cells, weights.T, out=cols.reshape(len(cells), -1))
        kernels.col2im(cols, self.windows, images)


def blocks(rows: int, size: int) -> list[slice]:
    """Cut a batch in blocks of at most ``size`` rows."""
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def accumulate(a: Array, b: Array, total: Array, part: Array, *, first: bool) -> None:
    """Write ``a @ b`` to the total, or add it once the total has a value."""
    np.matmul(a, b, out=total if first else part)
    if not first:
        total += part
