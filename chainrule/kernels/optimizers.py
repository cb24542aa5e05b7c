"""The steps of the optimizers: each one in-place pass over flat vectors, a block at a time.

Nothing of the size of the vectors is allocated. Flat functions, as compiled ones are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels.vectors import blocks, scratch

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array

__all__ = ["adagrad", "adam", "lion", "momentum", "nadam", "nesterov", "rmsprop", "sgd"]


def sgd(parameters: Array, gradients: Array, learning_rate: float) -> None:
    """Do one step of gradient descent."""
    memory = scratch(parameters)
    for block in blocks(parameters):
        change = memory[: block.stop - block.start]
        np.multiply(gradients[block], learning_rate, out=change)
        parameters[block] -= change


def momentum(
    parameters: Array, gradients: Array, velocity: Array, learning_rate: float, decay: float
) -> None:
    """Do one step with momentum: v = decay v + g; p -= learning_rate v."""
    memory = scratch(parameters)
    for block in blocks(parameters):
        v, change = velocity[block], memory[: block.stop - block.start]
        v *= decay
        v += gradients[block]
        np.multiply(v, learning_rate, out=change)
        parameters[block] -= change


def nesterov(
    parameters: Array, gradients: Array, velocity: Array, learning_rate: float, decay: float
) -> None:
    """Do one step with Nesterov's momentum: v = decay v + g; p -= learning_rate (g + decay v)."""
    memory = scratch(parameters)
    for block in blocks(parameters):
        g, v, change = gradients[block], velocity[block], memory[: block.stop - block.start]
        v *= decay
        v += g
        np.multiply(v, decay, out=change)
        change += g
        change *= learning_rate
        parameters[block] -= change


def adagrad(
    parameters: Array, gradients: Array, squares: Array, learning_rate: float, epsilon: float
) -> None:
    """Do one step of Adagrad: s += g^2; p -= learning_rate g / (sqrt(s) + epsilon)."""
    memory = scratch(parameters)
    for block in blocks(parameters):
        g, s, change = gradients[block], squares[block], memory[: block.stop - block.start]
        np.multiply(g, g, out=change)
        s += change
        np.sqrt(s, out=change)
        change += epsilon
        np.divide(g, change, out=change)
        change *= learning_rate
        parameters[block] -= change


def rmsprop(  # noqa: PLR0913
    parameters: Array,
    gradients: Array,
    squares: Array,
    mean: Array | None,
    velocity: Array | None,
    *,
    learning_rate: float,
    rho: float,
    momentum: float,
    epsilon: float,
) -> None:
    """Do one step of RMSprop, centered where there is a mean, with momentum where a velocity.

    s = rho s + (1 - rho) g^2; c = g / (sqrt(s - mean^2) + epsilon); v = momentum v + c;
    p -= learning_rate v.
    """
    memory = scratch(parameters)
    for block in blocks(parameters):
        g, s, change = gradients[block], squares[block], memory[: block.stop - block.start]
        _blend(s, g, rho, change, squared=True)
        if mean is None:
            np.sqrt(s, out=change)
        else:
            centre = mean[block]
            _blend(centre, g, rho, change)
            np.multiply(centre, centre, out=change)
            np.subtract(s, change, out=change)
            np.maximum(change, 0.0, out=change)  # a variance, but for rounding
            np.sqrt(change, out=change)
        change += epsilon
        np.divide(g, change, out=change)
        if velocity is not None:
            v = velocity[block]
            v *= momentum
            v += change
            np.copyto(change, v)
        change *= learning_rate
        parameters[block] -= change


def adam(  # noqa: PLR0913
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
    weight_decay: float = 0.0,
) -> None:
    """Do step number ``step`` (from 1) of Adam, epsilon added outside the corrected root.

    p -= rate / c1 * m / (sqrt(v) / sqrt(c2) + epsilon), both sides multiplied by sqrt(c2). The
    decay comes first: p *= 1 - rate weight_decay.
    """
    root = math.sqrt(1.0 - beta_2**step)
    rate = learning_rate * root / (1.0 - beta_1**step)
    kept = 1.0 - learning_rate * weight_decay
    memory = scratch(parameters)
    for block in blocks(parameters):
        g, first, second = gradients[block], m[block], v[block]
        change = memory[: block.stop - block.start]
        first *= beta_1  # as _blend, without its calls: the default, on networks of any size
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
        if weight_decay:
            parameters[block] *= kept
        parameters[block] -= change


def nadam(  # noqa: PLR0913
    parameters: Array,
    gradients: Array,
    m: Array,
    v: Array,
    *,
    gradient_rate: float,
    momentum_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    step: int,
) -> None:
    """Do step number ``step`` (from 1) of Nadam.

    p -= (gradient_rate g + momentum_rate m) / (sqrt(v / c2) + epsilon), both sides multiplied by
    sqrt(c2).
    """
    root = math.sqrt(1.0 - beta_2**step)
    memory, more = scratch(parameters), scratch(parameters, 1)
    for block in blocks(parameters):
        g, first, second = gradients[block], m[block], v[block]
        change, divisor = (part[: block.stop - block.start] for part in (memory, more))
        _blend(first, g, beta_1, change)
        _blend(second, g, beta_2, change, squared=True)
        np.multiply(g, gradient_rate * root, out=change)
        np.multiply(first, momentum_rate * root, out=divisor)
        change += divisor
        np.sqrt(second, out=divisor)
        divisor += epsilon * root
        change /= divisor
        parameters[block] -= change


def lion(  # noqa: PLR0913
    parameters: Array,
    gradients: Array,
    m: Array,
    *,
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    weight_decay: float,
) -> None:
    """Do one step of Lion: p -= rate (sign(beta_1 m + (1 - beta_1) g) + weight_decay p).

    Then m = beta_2 m + (1 - beta_2) g.
    """
    kept = 1.0 - learning_rate * weight_decay
    memory, more = scratch(parameters), scratch(parameters, 1)
    for block in blocks(parameters):
        g, first = gradients[block], m[block]
        change, part = (each[: block.stop - block.start] for each in (memory, more))
        np.multiply(first, beta_1, out=change)
        np.multiply(g, 1.0 - beta_1, out=part)
        change += part
        np.sign(change, out=change)
        change *= learning_rate
        if weight_decay:
            parameters[block] *= kept
        parameters[block] -= change
        _blend(first, g, beta_2, part)


def _blend(mean: Array, g: Array, beta: float, work: Array, *, squared: bool = False) -> None:
    """Move a mean toward the gradient or its square: mean = beta mean + (1 - beta) g."""
    mean *= beta
    if squared:
        np.multiply(g, g, out=work)
        work *= 1.0 - beta
    else:
        np.multiply(g, 1.0 - beta, out=work)
    mean += work
