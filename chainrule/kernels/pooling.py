"""The loops of pooling in plain numpy.

Every kernel writes into arrays that it is given. Images are (batch, height, width, channels), and
``windows`` says which of their cells each window covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array
    from chainrule.spec.layers.sliding import Windows

__all__ = [
    "avg_pool",
    "avg_pool_backward",
    "global_max",
    "global_max_backward",
    "max_pool",
    "max_pool_backward",
]

_BLOCK = 1 << 16  # values: temporaries of this size stay in the cache


def max_pool(x: Array, windows: Windows, y: Array, place: Array) -> None:
    """Write the largest cell of each window to y, and which it is, the first of equals, to place.

    Shapes: x (batch, height, width, channels); y and place (batch, rows, columns, channels).
    """
    y.fill(-np.inf)
    place.fill(0)
    for block in _blocks(y):
        for number, (out_rows, out_columns), (rows, columns) in windows.taps:
            cells, most = x[block, rows, columns], y[block, out_rows, out_columns]
            # Of the taps that were larger than all before, the last is the first of the largest.
            winner, raised = place[block, out_rows, out_columns], cells > most
            np.maximum(winner, raised * place.dtype.type(number), out=winner)
            np.maximum(cells, most, out=most)


def max_pool_backward(dy: Array, windows: Windows, place: Array, dx: Array) -> None:
    """Write the gradient in the cells.  Shapes: as ``max_pool``, dy like y and dx like x."""
    dx.fill(0.0)
    for block in _blocks(dy):
        for number, (out_rows, out_columns), (rows, columns) in windows.taps:
            chosen = place[block, out_rows, out_columns] == number
            slopes, into = dy[block, out_rows, out_columns], dx[block, rows, columns]
            if windows.is_disjoint:
                np.multiply(slopes, chosen, out=into)  # no branches, unlike a masked copy
            else:
                into += slopes * chosen


def avg_pool(x: Array, windows: Windows, y: Array) -> None:
    """Write the mean of each window's real cells.  Shapes: as ``max_pool``."""
    y.fill(0.0)
    for block in _blocks(y):
        for _, (out_rows, out_columns), (rows, columns) in windows.taps:
            y[block, out_rows, out_columns] += x[block, rows, columns]
    y *= _shares(windows, y)


def avg_pool_backward(dy: Array, windows: Windows, dx: Array, scaled: Array) -> None:
    """Write the gradient in the cells.  Shapes: as ``avg_pool``; ``scaled`` is scratch like dy."""
    np.multiply(dy, _shares(windows, dy), out=scaled)
    dx.fill(0.0)
    for block in _blocks(dy):
        for _, (out_rows, out_columns), (rows, columns) in windows.taps:
            dx[block, rows, columns] += scaled[block, out_rows, out_columns]


def global_max(x: Array, y: Array) -> None:
    """Write the largest of all steps.  Shapes: x (batch, steps, channels), y (batch, channels)."""
    np.maximum.reduce(x, axis=1, out=y)


def global_max_backward(x: Array, y: Array, dy: Array, dx: Array, equal: Array) -> None:
    """Write the gradient in the steps: all of it to the first of the largest.

    Shapes: x, dx and the boolean scratch equal (batch, steps, channels); y, dy (batch, channels).
    """
    np.equal(x, y[:, None], out=equal)
    first = np.argmax(equal, axis=1)
    dx.fill(0.0)
    np.put_along_axis(dx, first[:, None], dy[:, None], axis=1)


def _shares(windows: Windows, like: Array) -> Array:
    """Return one over each window's number of real cells.  Shape: (rows, columns, 1)."""
    counts = np.zeros((windows.rows.windows, windows.columns.windows, 1), like.dtype)
    for _, (out_rows, out_columns), _ in windows.taps:
        counts[out_rows, out_columns] += 1.0
    return np.reciprocal(counts, out=counts)


def _blocks(y: Array) -> list[slice]:
    size = max(1, _BLOCK // y[0].size) if len(y) else 1
    return [slice(start, start + size) for start in range(0, len(y), size)]
