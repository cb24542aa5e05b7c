"""Losses with their gradients in one pass, and the sums that metrics are made of.

Numbers go where the caller wants them, so that a call can be made again as it was.
"""

from __future__ import annotations

import numpy as np

from chainrule.kernels.elementwise import ELEMENTWISE, Array

__all__ = [
    "accumulate",
    "add_errors",
    "binary_cross_entropy",
    "count_agreeing",
    "count_right",
    "mean_squared_error",
    "softmax_cross_entropy",
]


def softmax_cross_entropy(logits: Array, classes: Array, dy: Array, loss: Array) -> None:
    """Write the mean loss in nats to loss, and its gradient in the logits to dy.

    Shapes: logits and dy (rows, classes), classes (rows,) of intp, loss () of float64.
    """
    rows = np.arange(len(logits))
    np.subtract(logits, np.maximum.reduce(logits, axis=1, keepdims=True), out=dy)
    chosen = dy[rows, classes]
    np.exp(dy, out=dy)
    total = np.add.reduce(dy, axis=1)
    loss.fill(np.add.reduce(np.log(total) - chosen, dtype=np.float64) / len(rows))
    total *= len(rows)
    dy /= total[:, None]
    dy[rows, classes] -= 1.0 / len(rows)


def binary_cross_entropy(logits: Array, target: Array, dy: Array, loss: Array) -> None:
    """Write the mean loss of independent logits, in nats, to loss, and its gradient to dy.

    Shapes: logits, target and dy alike, loss () of float64.
    Source: log(1 + exp(y)) - target y, written as softplus(-|y|) + max(y, 0) - target y.
    """
    np.abs(logits, out=dy)
    np.negative(dy, out=dy)
    np.exp(dy, out=dy)
    np.log1p(dy, out=dy)
    total = np.add.reduce(dy, axis=None, dtype=np.float64)
    np.greater(logits, 0.0, out=dy)  # max(y, 0) - target y, entry by entry: sums would cancel
    dy -= target
    dy *= logits
    total += np.add.reduce(dy, axis=None, dtype=np.float64)
    loss.fill(total / dy.size)
    ELEMENTWISE["sigmoid"].value(logits, dy)
    dy -= target
    dy *= 1.0 / dy.size


def mean_squared_error(y: Array, target: Array, dy: Array, loss: Array) -> None:
    """Write the mean of the squared differences to loss, and its gradient in y to dy.

    Shapes: y, target and dy alike, loss () of float64.
    """
    np.subtract(y, target, out=dy)
    flat = dy.reshape(-1)
    loss.fill(float(np.dot(flat, flat)) / dy.size)
    dy *= 2.0 / dy.size


def accumulate(value: Array, count: float, sums: Array) -> None:
    """Add a mean of so many values to (sum, count).  Shapes: value (), sums (2,), of float64."""
    sums[0] += value * count
    sums[1] += count


def count_right(y: Array, classes: Array, sums: Array) -> None:
    """Add to (right, all): right is what is largest at its class; of equals the first counts.

    Shapes: y (..., n), classes (...) of intp, sums (2,) of float64.
    """
    sums[0] += np.count_nonzero(y.argmax(axis=-1) == classes)
    sums[1] += classes.size


def count_agreeing(y: Array, target: Array, sums: Array) -> None:
    """Add to (right, all): right is a logit on its target's side, above one half or not.

    Shapes: y and target alike, sums (2,) of float64.
    """
    sums[0] += np.count_nonzero((y > 0.0) == (target > 0.5))
    sums[1] += y.size


def add_errors(y: Array, target: Array, work: Array, sums: Array) -> None:
    """Add to the number of rows, and by column to the sums that follow it.

    They are those of the errors squared, of the errors' sizes, of the targets and of their squares.
    Shapes: y, target and the scratch ``work``, which may be y, (rows, columns); sums
    (1 + 4 columns,) of float64.
    """
    of = sums[1:].reshape(4, y.shape[1])
    np.subtract(y, target, out=work)
    np.abs(work, out=work)
    of[1] += np.add.reduce(work, axis=0, dtype=np.float64)
    np.multiply(work, work, out=work)
    of[0] += np.add.reduce(work, axis=0, dtype=np.float64)
    of[2] += np.add.reduce(target, axis=0, dtype=np.float64)
    # In double precision: a variance is what is left of them, the last digits.
    of[3] += np.einsum("ij,ij->j", target, target, dtype=np.float64)
    sums[0] += len(y)
