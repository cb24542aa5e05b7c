"""Rows by their numbers: gathered, converted, added up; in plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array

__all__ = ["add_rows", "cast", "gather", "gather_runs", "scale", "take_rows"]

_BLOCK = 8192  # elements


def take_rows(table: Array, x: Array, rows: Array, y: Array) -> None:
    """Write the whole numbers that x holds to rows, and the row that each names to y.

    Shapes: table (n, width), x and rows (...), y (..., width).
    Raises: IndexError, if there is no such row.
    """
    np.copyto(rows, x, casting="unsafe")
    if rows.size and not 0 <= rows.min() <= rows.max() < len(table):
        raise IndexError(f"there are rows from 0 to {len(table) - 1:,}")
    table.take(rows, 0, y, "clip")  # any other mode makes a copy of y


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


def gather(values: Array, rows: Array, out: Array) -> None:
    """Write some rows to ``out``.

    Shapes: values (any, ...), rows (n,) of intp, out (n, ...) of the same type.
    """
    values.take(rows, 0, out, "clip")


def gather_runs(values: Array, starts: Array, rows: Array, places: Array, out: Array) -> None:
    """Write to ``out`` the runs of values that begin where some of the starts say.

    ``places`` is scratch.
    Shapes: values (any, ...), starts (runs,) of intp, rows (n,) of intp, places (n, length) of
    intp, out (n, length, ...) of the values' type.
    """
    starts.take(rows, 0, places[:, 0], "clip")
    np.add(places[:, :1], np.arange(1, places.shape[1]), out=places[:, 1:])
    values.take(places, 0, out, "clip")


def scale(x: Array, mean: Array, std: Array, out: Array) -> None:
    """Write (x - mean) / std, computed in float64 and rounded once, some numbers at a time.

    Shapes: x and out (..., n), mean and std (n,) or (1,).
    """
    width = len(mean)
    values, scaled = x.reshape(-1, width), out.reshape(-1, width)
    size = max(1, _BLOCK // width)
    for start in range(0, len(values), size):
        block = values[start : start + size] - mean
        np.divide(block, std, out=block)
        scaled[start : start + size] = block


def cast(x: Array, out: Array) -> None:
    """Write numbers as another type."""
    np.copyto(out, x, casting="unsafe")
