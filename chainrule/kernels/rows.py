"""Rows by their numbers: gathered, converted, added up; in plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array

__all__ = ["add_rows", "cast", "take_rows"]

_BLOCK = 8192  # elements


def add_rows(rows: Array, values: Array, out: Array) -> None:
    """Add each value to one row of ``out``, in order; a row may be named often.

    Shapes: rows (n,) of intp, values (n, width), out (any, width), contiguous.
    """
    width = values.shape[1]
    flat, columns = out.reshape(-1), np.arange(width)
    size = max(1, _BLOCK // width)
    for start in range(0, len(rows), size):
        block = slice(start, start + size)
        # On flat arrays numpy has a fast loop for this, several times that on rows.
        places = rows[block, None] * width + columns
        np.add.at(flat, places.reshape(-1), values[block].reshape(-1))


def take_rows(values: Array, rows: Array, out: Array) -> None:
    """Write some rows to ``out``.

    Shapes: values (any, ...), rows (n,) of intp, out (n, ...) of the same type.
    """
    values.take(rows, 0, out, "clip")


def cast(x: Array, out: Array) -> None:
    """Write numbers as another type."""
    np.copyto(out, x, casting="unsafe")
