"""The loops of squared errors in plain numpy: a loss with its gradient, and sums for metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array

__all__ = ["add_errors", "mean_squared_error"]


def mean_squared_error(y: Array, target: Array, dy: Array) -> float:
    """Return the mean of the squared differences, and write its gradient in y to dy.

    Shapes: y, target and dy alike -> ().
    """
    np.subtract(y, target, out=dy)
    flat = dy.reshape(-1)
    loss = float(np.dot(flat, flat)) / dy.size
    dy *= 2.0 / dy.size
    return loss


def add_errors(y: Array, target: Array, work: Array, sums: Array) -> None:
    """Add to the number of rows, and by column to the sums that follow it.

    They are those of the errors squared, of the errors' sizes, of the targets and of their squares.
    Shapes: y, target and the scratch ``work``, which may be y, (rows, columns); sums
    (1 + 4 columns,) in double precision.
    """
    of = sums[1:].reshape(4, y.shape[1])
    np.subtract(y, target, out=work)
    np.abs(work, out=work)
    of[1] += np.add.reduce(work, axis=0, dtype=np.float64)
    np.multiply(work, work, out=work)
    of[0] += np.add.reduce(work, axis=0, dtype=np.float64)
    of[2] += np.add.reduce(target, axis=0, dtype=np.float64)
    np.multiply(target, target, out=work)
    of[3] += np.add.reduce(work, axis=0, dtype=np.float64)
    sums[0] += len(y)
