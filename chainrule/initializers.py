"""How parameters start: Keras's initializers, drawn in float64 so that precisions start alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels import Array

__all__ = ["INITIALIZERS", "initialize"]

_BLOCK = 1 << 20
# The standard deviation of a unit normal cut off at two deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


def initialize(name: str, parameter: Array, rng: np.random.Generator) -> None:
    """Fill a parameter, a block at a time.

    Source: Glorot & Bengio (2010); He et al. (2015), eq. 10; truncation as Keras's VarianceScaling.
    """
    fan_in, fan_out = _fans(parameter.shape)
    draw = INITIALIZERS[name]
    flat = parameter.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        block[:] = draw(rng, block.size, fan_in, fan_out)


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


INITIALIZERS: dict[str, Callable[[np.random.Generator, int, float, float], Array]] = {
    "glorot_uniform": lambda rng, size, i, o: _uniform(rng, size, 2.0 / (i + o)),
    "glorot_normal": lambda rng, size, i, o: _truncated_normal(rng, size, 2.0 / (i + o)),
    "he_uniform": lambda rng, size, i, _: _uniform(rng, size, 2.0 / i),
    "he_normal": lambda rng, size, i, _: _truncated_normal(rng, size, 2.0 / i),
    "zeros": lambda _rng, size, _i, _o: np.zeros(size),
    "ones": lambda _rng, size, _i, _o: np.ones(size),
}
