"""How parameters start: Keras's initializers, drawn in float64 so that precisions start alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels import Array
    from chainrule.spec.layers import Blocks, Initializer

__all__ = ["initialize"]

_BLOCK = 1 << 20
# The standard deviation of a unit normal cut off at two deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


def initialize(
    initializer: Initializer | Blocks, parameter: Array, rng: np.random.Generator
) -> None:
    """Fill a parameter; where entries are drawn one by one, some at a time.

    Source: Glorot & Bengio (2010); He et al. (2015), eq. 10; LeCun et al. (1998); Saxe et al.
    (2014); truncation as Keras's VarianceScaling.
    """
    if isinstance(initializer, tuple):
        start = 0
        for part, size in initializer:
            initialize(part, parameter[start : start + size], rng)
            start += size
        return
    kind = initializer if isinstance(initializer, str) else initializer.kind
    settings = {} if isinstance(initializer, str) else initializer.model_dump(exclude={"kind"})
    if kind in _WHOLE:
        _WHOLE[kind](rng, parameter, **settings)
        return
    draw = _ENTRIES[kind] if kind in _ENTRIES else _scaled(kind, parameter.shape)
    flat = parameter.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        block[:] = draw(rng, block.size, **settings)


def _scaled(kind: str, shape: tuple[int, ...]) -> Callable[..., Array]:
    """Return the draw of a variance that follows from the shape."""
    fan_in, fan_out = _fans(shape)
    scale, _, distribution = kind.partition("_")
    variances = {"glorot": 2.0 / (fan_in + fan_out), "he": 2.0 / fan_in, "lecun": 1.0 / fan_in}
    draw = {"uniform": _uniform, "normal": _truncated_normal}[distribution]
    return lambda rng, size: draw(rng, size, variances[scale])


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return how many inputs feed an output and outputs an input feeds, as Keras counts."""
    if len(shape) < 2:
        return float(math.prod(shape)), float(math.prod(shape))
    receptive = math.prod(shape[:-2])
    return float(shape[-2] * receptive), float(shape[-1] * receptive)


def _uniform(rng: np.random.Generator, size: int, variance: float) -> Array:
    limit = math.sqrt(3.0 * variance)
    return rng.uniform(-limit, limit, size)


def _truncated_normal(rng: np.random.Generator, size: int, variance: float) -> Array:
    values = rng.standard_normal(size)
    while (beyond := np.flatnonzero(np.abs(values) > 2.0)).size:
        values[beyond] = rng.standard_normal(beyond.size)
    return values * (math.sqrt(variance) / _TRUNCATED_DEVIATION)


def _orthogonal(rng: np.random.Generator, parameter: Array, gain: float = 1.0) -> None:
    """Fill with orthonormal rows or columns, whichever are fewer, all axes but the last as one."""
    rows, columns = math.prod(parameter.shape[:-1]), parameter.shape[-1]
    drawn = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn)
    q *= np.where(np.diagonal(r) < 0, -gain, gain)  # the signs make the distribution uniform
    parameter.reshape(rows, columns)[:] = q if rows >= columns else q.T


def _identity(rng: np.random.Generator, parameter: Array, gain: float = 1.0) -> None:
    parameter.fill(0.0)
    np.fill_diagonal(parameter, gain)


_WHOLE: dict[str, Callable[..., None]] = {"orthogonal": _orthogonal, "identity": _identity}
_ENTRIES: dict[str, Callable[..., Any]] = {
    "zeros": lambda _rng, size: np.zeros(size),
    "ones": lambda _rng, size: np.ones(size),
    "constant": lambda _rng, size, value=0.0: np.full(size, value),
    "random_uniform": lambda rng, size, minval=-0.05, maxval=0.05: rng.uniform(
        minval, maxval, size
    ),
    "random_normal": lambda rng, size, mean=0.0, stddev=0.05: rng.normal(mean, stddev, size),
}
