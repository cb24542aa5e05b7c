"""The fused loops in plain numpy: what runs without compiled kernels, and the oracle for them.

Every kernel writes into arrays that it is given and allocates nothing of the size of its inputs.
"""

from __future__ import annotations

import numpy as np

from chainrule.kernels.elementwise import ELEMENTWISE, Array

__all__ = [
    "activation_backward",
    "add",
    "bias_activation",
    "column_sums",
    "copy",
    "count_right",
    "matmul",
    "multiply",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]


def bias_activation(x: Array, bias: Array | None, activation: str, y: Array) -> None:
    """Add the bias to x in place, then write the activation of the sum to y, which may be x."""
    if bias is not None:
        x += bias
    ELEMENTWISE[activation].value(x, y)


def activation_backward(  # noqa: PLR0913, PLR0917  (flat, as a compiled kernel is called)
    activation: str, x: Array, y: Array, dy: Array, dx: Array, sums: Array | None
) -> None:
    """Write the gradient in the activation's input to dx, and its sums over all axes but the last.

    These are the gradient in a bias, if there is one.  Shapes: all alike, but sums (columns,).
    """
    ELEMENTWISE[activation].slope(x, y, dx)
    dx *= dy
    if sums is not None:
        column_sums(dx, sums)


def column_sums(x: Array, out: Array) -> None:
    """Write the sums over the first axes, those that out has not.  Shapes: x (..., *out.shape)."""
    np.add.reduce(x.reshape(-1, *out.shape), axis=0, out=out)


def copy(x: Array, out: Array) -> None:
    """Write x to out, which may have more axes before it."""
    np.copyto(out, x)


def add(a: Array, b: Array, out: Array) -> None:
    """Write a + b to out, which may be either."""
    np.add(a, b, out=out)


def multiply(a: Array, b: Array | float, out: Array) -> None:
    """Write a b, number by number, to out, which may be either."""
    np.multiply(a, b, out=out)


def matmul(a: Array, b: Array, out: Array) -> None:
    """Write the matrix product to out.  Shapes: as np.matmul's."""
    np.matmul(a, b, out=out)


def count_right(y: Array, classes: Array) -> int:
    """Return how many positions are largest at their class; of equals the first counts.

    Shapes: y (..., n), classes (...) of intp -> ().
    """
    return int(np.count_nonzero(y.argmax(axis=-1) == classes))


def softmax(x: Array, y: Array) -> None:
    """Write the softmax over the last axis to y, which may be x."""
    np.subtract(x, np.maximum.reduce(x, axis=-1, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= np.add.reduce(y, axis=-1, keepdims=True)


def softmax_backward(y: Array, dy: Array, dx: Array) -> None:
    """Write the gradient in the softmax's input to dx."""
    np.multiply(dy, y, out=dx)
    total = np.add.reduce(dx, axis=-1, keepdims=True)
    np.subtract(dy, total, out=dx)
    dx *= y


def softmax_cross_entropy(logits: Array, classes: Array, dy: Array) -> float:
    """Return the mean loss in nats, and write its gradient in the logits to dy.

    Shapes: logits and dy (rows, classes), classes (rows,) -> ().
    """
    rows = np.arange(len(logits))
    np.subtract(logits, np.maximum.reduce(logits, axis=1, keepdims=True), out=dy)
    chosen = dy[rows, classes]
    np.exp(dy, out=dy)
    total = np.add.reduce(dy, axis=1)
    loss = float(np.add.reduce(np.log(total) - chosen, dtype=np.float64))
    total *= len(rows)
    dy /= total[:, None]
    dy[rows, classes] -= 1.0 / len(rows)
    return loss / len(rows)
