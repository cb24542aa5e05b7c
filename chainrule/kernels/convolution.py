"""The loops of convolutions in plain numpy: windows to columns and back.

Every kernel writes into arrays that it is given. Images are (batch, height, width, channels), and
``windows`` says which of their cells each window covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array
    from chainrule.spec.layers.sliding import Windows

__all__ = ["col2im", "im2col"]


def im2col(x: Array, windows: Windows, cols: Array, padded: Array | None) -> None:
    """Write each window's cells as one run of memory, padding as zeros.

    Shapes: x (batch, height, width, channels); padded the same with the padding, None if there is
    none; cols (batch, rows, columns, kernel rows, kernel columns, channels).
    """
    if padded is not None:
        padded.fill(0.0)
        top, left = windows.rows.before, windows.columns.before
        padded[:, top : top + x.shape[1], left : left + x.shape[2]] = x
        x = padded
    seen = _windows(x, windows)
    if x.shape[-1] > 1:
        np.copyto(cols, seen)
        return
    for i in range(windows.rows.kernel):  # a window's row is short then: copy along windows
        for j in range(windows.columns.kernel):
            cols[:, :, :, i, j] = seen[:, :, :, i, j]


def col2im(cols: Array, windows: Windows, images: Array) -> None:
    """Add to each cell what the windows over it hold of it.  Shapes: as ``im2col``."""
    for place, (out_rows, out_columns), (rows, columns) in windows.taps:
        i, j = divmod(place, windows.columns.kernel)
        images[:, rows, columns] += cols[:, out_rows, out_columns, i, j]


def _windows(x: Array, windows: Windows) -> Array:
    """Return a view of x with an axis for each place of a window and each place within it."""
    rows, columns = windows.rows, windows.columns
    batch, row, column, channel = x.strides
    shape = (len(x), rows.windows, columns.windows, rows.kernel, columns.kernel, x.shape[-1])
    strides = (
        batch,
        row * rows.stride,
        column * columns.stride,
        row * rows.dilation,
        column * columns.dilation,
        channel,
    )
    return as_strided(x, shape, strides, writeable=False)
