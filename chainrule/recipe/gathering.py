"""Values of many rows out of a column, in no more memory than they take themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["BLOCK_ROWS", "gathered", "there"]

BLOCK_ROWS = 1 << 18  # numpy makes eight bytes of each row's number


def gathered(tensor: Array, rows: Array) -> Array:
    """Return the values of some rows.  Shapes: tensor (all, ...), rows (n,) -> (n, ...)."""
    found = np.empty((len(rows), *tensor.shape[1:]), tensor.dtype)
    for start in range(0, len(rows), BLOCK_ROWS):
        some = slice(start, start + BLOCK_ROWS)
        found[some] = tensor[rows[some]]
    return found


def there(tensor: Array, rows: Array) -> Array:
    """Return the values of those of some rows that are not missing: neither NaN nor a code below 0.

    Shapes: tensor (all,), rows (n,) -> (at most n,).
    """
    found, count = np.empty(len(rows), tensor.dtype), 0
    for start in range(0, len(rows), BLOCK_ROWS):
        values = tensor[rows[start : start + BLOCK_ROWS]]
        values = values[~np.isnan(values) if values.dtype.kind == "f" else values >= 0]
        found[count : count + len(values)] = values
        count += len(values)
    return found[:count]
