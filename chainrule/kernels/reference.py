"""The fused loops in plain numpy: what runs without compiled kernels, and the oracle for them.

Every kernel writes into arrays that it is given and allocates nothing of the size of its inputs.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from chainrule.kernels.elementwise import ELEMENTWISE, Array

__all__ = [
    "activation_backward",
    "adam",
    "bias_activation",
    "momentum",
    "nesterov",
    "sgd",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
]

# Elements of one block of an optimizer's pass: bounds the scratch, and costs nothing measurable.
_BLOCK = 65536
_own = threading.local()


def bias_activation(x: Array, bias: Array | None, activation: str, y: Array) -> None:
    """Add the bias to x in place, then write the activation of the sum to y, which may be x."""
    if bias is not None:
        x += bias
    ELEMENTWISE[activation].value(x, y)


def activation_backward(activation: str, x: Array, y: Array, dy: Array, dx: Array) -> None:
    """Write the gradient in the activation's input to dx."""
    ELEMENTWISE[activation].slope(x, y, dx)
    dx *= dy


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


def sgd(parameters: Array, gradients: Array, learning_rate: float) -> None:
    """Do one step of gradient descent."""
    scratch = _scratch(parameters)
    for block in _blocks(parameters):
        change = scratch[: block.stop - block.start]
        np.multiply(gradients[block], learning_rate, out=change)
        parameters[block] -= change


def momentum(
    parameters: Array, gradients: Array, velocity: Array, learning_rate: float, decay: float
) -> None:
    """Do one step with momentum: v = decay v + g; p -= learning_rate v."""
    scratch = _scratch(parameters)
    for block in _blocks(parameters):
        v, change = velocity[block], scratch[: block.stop - block.start]
        v *= decay
        v += gradients[block]
        np.multiply(v, learning_rate, out=change)
        parameters[block] -= change


def nesterov(
    parameters: Array, gradients: Array, velocity: Array, learning_rate: float, decay: float
) -> None:
    """Do one step with Nesterov's momentum: v = decay v + g; p -= learning_rate (g + decay v)."""
    scratch = _scratch(parameters)
    for block in _blocks(parameters):
        g, v, change = gradients[block], velocity[block], scratch[: block.stop - block.start]
        v *= decay
        v += g
        np.multiply(v, decay, out=change)
        change += g
        change *= learning_rate
        parameters[block] -= change


def adam(  # noqa: PLR0913  (flat, as a compiled kernel is called)
    parameters: Array,
    gradients: Array,
    m: Array,
    v: Array,
    *,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    step: int,
) -> None:
    """Do step number ``step`` (from 1) of Adam, epsilon added outside the corrected root.

    p -= rate / c1 * m / (sqrt(v) / sqrt(c2) + epsilon), both sides multiplied by sqrt(c2).
    """
    root = math.sqrt(1.0 - beta_2**step)
    rate = learning_rate * root / (1.0 - beta_1**step)
    scratch = _scratch(parameters)
    for block in _blocks(parameters):
        g, first, second = gradients[block], m[block], v[block]
        change = scratch[: block.stop - block.start]
        first *= beta_1
        np.multiply(g, 1.0 - beta_1, out=change)
        first += change
        second *= beta_2
        np.multiply(g, g, out=change)
        change *= 1.0 - beta_2
        second += change
        np.sqrt(second, out=change)
        change += epsilon * root
        np.divide(first, change, out=change)
        change *= rate
        parameters[block] -= change


def _scratch(vector: Array) -> Array:
    """Return this thread's block of scratch memory, in a vector's precision."""
    if not hasattr(_own, "scratch"):
        _own.scratch = np.empty(_BLOCK, np.float64)
    scratch: Array = _own.scratch
    return scratch.view(vector.dtype)


def _blocks(vector: Array) -> list[slice]:
    return [
        slice(start, min(start + _BLOCK, vector.size)) for start in range(0, vector.size, _BLOCK)
    ]
