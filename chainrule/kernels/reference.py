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
    "fill",
    "matmul",
    "middle_sums",
    "multiply",
    "softmax",
    "softmax_backward",
]


def bias_activation(x: Array, bias: Array | None, activation: str, y: Array) -> None:
    """Add the bias to x in place, then write the activation of the sum to y, which may be x."""
    if bias is not None:
        x += bias
    ELEMENTWISE[activation].value(x, y)


def activation_backward(activation: str, x: Array, y: Array, dy: Array, dx: Array) -> None:
    """Write the gradient in the activation's input to dx."""
    ELEMENTWISE[activation].slope(x, y, dx)
    dx *= dy


def column_sums(x: Array, out: Array) -> None:
    """Write the sums over the first axes, those that out has not.  Shapes: x (..., *out.shape)."""
    np.add.reduce(x.reshape(-1, *out.shape), axis=0, out=out)


def middle_sums(x: Array, out: Array) -> None:
    """Write the sums over the middle axis.  Shapes: x (batch, n, channels) -> (batch, channels)."""
    np.add.reduce(x, axis=1, out=out)


def copy(x: Array, out: Array) -> None:
    """Write x, repeated along axes that only out has, to out."""
    np.copyto(out, x)


def fill(out: Array, value: float) -> None:
    """Write one number everywhere."""
    out.fill(value)


def add(a: Array, b: Array, out: Array) -> None:
    """Write a + b, repeated along axes that only out has, to out, which may be either."""
    np.add(a, b, out=out)


def multiply(a: Array, b: Array | float, out: Array) -> None:
    """Write a b, number by number, as ``add`` does."""
    np.multiply(a, b, out=out)


def matmul(a: Array, b: Array, out: Array) -> None:
    """Write the product of two matrices to out, or those of two stacks of them, one by one.

    Shapes: a (..., m, k), b (..., k, n) -> (..., m, n).
    """
    np.matmul(a, b, out=out)


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
