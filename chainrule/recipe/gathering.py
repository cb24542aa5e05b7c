"""Values of many rows out of a column, in no more memory than they take themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["BLOCK_ROWS", "gathered", "packed"]

BLOCK_ROWS = 1 << 18  # numpy makes eight bytes of each row's number


def gathered(tensor: Array, rows: Array) -> Array:
    """Return the values of some rows.  Shapes: tensor (all, ...), rows (n,) -> (n, ...)."""
    found = np.empty((len(rows), *tensor.shape[1:]), tensor.dtype)
    for start in range(0, len(rows), BLOCK_ROWS):
        some = slice(start, start + BLOCK_ROWS)
        found[some] = tensor[rows[some]]
    return found


def packed(values: Array) -> Array:
    """Move the values that are not missing to the front, and return these; the rest is spoilt.

    Missing is NaN, or a code below 0.  Shapes: (rows,) -> (at most rows,).
    """
    count = 0
    for start in range(0, len(values), BLOCK_ROWS):
        some = values[start : start + BLOCK_ROWS]
        some = some[~np.isnan(some) if some.dtype.kind == "f" else some >= 0]
        values[count : count + len(some)] = some
        count += len(some)
    return values[:count]
