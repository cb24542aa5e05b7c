"""Convolutions and their gradients in plain numpy: windows to columns, products, and back.

Images are (batch, height, width, channels), and ``windows`` says which of their cells each window
covers. A kernel of fewer channels than the images goes over their groups of channels, each with
its part of the filters. The columns of a block of images at a time stay in the cache.

Shapes: x and dx (batch, height, width, channels), kernel and slope (kernel rows, kernel columns,
channels of a group, filters), y and dy (batch, window rows, window columns, filters). ``work`` is
what the compiled twins need besides: ``Windows.work`` values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.kernels.elementwise import Array
    from chainrule.spec.layers.sliding import Windows

__all__ = ["convolve", "convolve_input_gradient", "convolve_kernel_gradient"]

_VALUES = 1 << 18  # of the columns of one block


def convolve(x: Array, kernel: Array, windows: Windows, y: Array, work: Array) -> None:
    """Write the sums over each window."""
    weights = kernel.reshape(-1, kernel.shape[-1])
    for rows, into, out, cols in _blocks(x, kernel, windows):
        _gather(x[rows, :, :, into], windows, cols)
        np.matmul(_flat(cols), weights[:, out], out=y[rows].reshape(-1, y.shape[-1])[:, out])


def convolve_input_gradient(
    dy: Array, kernel: Array, windows: Windows, dx: Array, work: Array
) -> None:
    """Write the gradient in the cells."""
    weights = kernel.reshape(-1, kernel.shape[-1])
    dx.fill(0.0)
    for rows, into, out, cols in _blocks(dx, kernel, windows):
        slopes = dy[rows].reshape(-1, dy.shape[-1])[:, out]
        np.matmul(slopes, weights[:, out].T, out=_flat(cols))
        cells = dx[rows, :, :, into]
        for place, (out_rows, out_columns), (in_rows, in_columns) in windows.taps:
            i, j = divmod(place, windows.columns.kernel)
            cells[:, in_rows, in_columns] += cols[:, out_rows, out_columns, i, j]


def convolve_kernel_gradient(
    x: Array, dy: Array, windows: Windows, slope: Array, work: Array
) -> None:
    """Write the gradient in the kernel, the sum of each block's."""
    total = slope.reshape(-1, slope.shape[-1])
    total.fill(0.0)
    for rows, into, out, cols in _blocks(x, slope, windows):
        _gather(x[rows, :, :, into], windows, cols)
        total[:, out] += _flat(cols).T @ dy[rows].reshape(-1, dy.shape[-1])[:, out]


def _blocks(
    x: Array, kernel: Array, windows: Windows
) -> Iterator[tuple[slice, slice, slice, Array]]:
    """Yield a block's rows, a group's channels and filters, and memory for their columns.

    Shapes: columns (rows, window rows, window columns, kernel rows, kernel columns, channels).
    """
    channels, groups = kernel.shape[2], x.shape[-1] // kernel.shape[2]
    filters, axes = kernel.shape[-1] // groups, (windows.rows, windows.columns)
    size = max(1, _VALUES // (windows.count * windows.size * channels))
    shape = (*(axis.windows for axis in axes), *(axis.kernel for axis in axes), channels)
    memory = np.empty((min(size, len(x)), *shape), x.dtype)
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        for g in range(groups):
            into = slice(g * channels, (g + 1) * channels)
            yield rows, into, slice(g * filters, (g + 1) * filters), memory[: rows.stop - start]


def _flat(cols: Array) -> Array:
    batch, rows, columns = cols.shape[:3]
    return cols.reshape(batch * rows * columns, -1)


def _gather(x: Array, windows: Windows, cols: Array) -> None:
    """Write each window's cells as one run of memory, padding as zeros."""
    if windows.padded_cells:
        rows, columns = windows.rows, windows.columns
        padded = np.zeros((len(x), rows.padded, columns.padded, x.shape[-1]), x.dtype)
        top, left = rows.before, columns.before
        padded[:, top : top + rows.size, left : left + columns.size] = x
        x = padded
    seen = _windows(x, windows)
    if x.shape[-1] > 1:
        np.copyto(cols, seen)
        return
    for i in range(windows.rows.kernel):  # a window's row is short then: copy along windows
        for j in range(windows.columns.kernel):
            cols[:, :, :, i, j] = seen[:, :, :, i, j]


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
