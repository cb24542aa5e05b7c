"""Losses of numbers: differences, counts and directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from chainrule import kernels
from chainrule.errors import DataError
from chainrule.losses.base import Loss
from chainrule.metrics import Metric, Regression

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["CosineSimilarity", "Huber", "MeanAbsoluteError", "MeanSquaredError", "Poisson"]

_LEAST_NORM = 1e-7  # Keras's epsilon


class Differences(Loss):
    """A loss whose metrics are those of a regression."""

    def metric(self, columns: int) -> Metric:
        return Regression()


@dataclass(frozen=True)
class MeanSquaredError(Differences):
    """Mean of the squared differences.  Units: those of the target, squared."""

    kind: ClassVar[str] = "mean_squared_error"

    def _write_plain(self, y: Array, target: Array, dy: Array, loss: Array) -> bool:
        kernels.mean_squared_error(y, target, dy, loss)
        return True

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        np.subtract(y, target, out=dy)
        each: Array = np.vecdot(dy, dy)
        dy *= 2.0
        return each


@dataclass(frozen=True)
class MeanAbsoluteError(Differences):
    """Mean of the differences' sizes; where there is none the gradient is 0."""

    kind: ClassVar[str] = "mean_absolute_error"

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        np.subtract(y, target, out=dy)
        np.abs(dy, out=work)
        each: Array = np.add.reduce(work, axis=-1)
        np.greater(y, target, out=dy)  # two comparisons: numpy's sign takes ten times as long
        np.less(y, target, out=work)
        dy -= work
        return each


@dataclass(frozen=True)
class Huber(Differences):
    """e^2 / 2 for differences e up to delta, delta (|e| - delta / 2) beyond.

    Source: Huber (1964); with c = clip(e) both are c (e - c / 2), whose slope is c.
    """

    delta: float = 1.0
    kind: ClassVar[str] = "huber"

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        np.subtract(y, target, out=work)
        np.clip(work, -self.delta, self.delta, out=dy)
        each: Array = np.vecdot(dy, work)
        each -= 0.5 * np.vecdot(dy, dy)
        return each


@dataclass(frozen=True)
class Poisson(Loss):
    """exp(y) - target y: a Poisson likelihood's negative logarithm, less what y has no part in.

    Units: y is the logarithm of the rate; the target counts, and is 0 or more.
    Source: PyTorch's PoissonNLLLoss with log_input and without full.
    """

    kind: ClassVar[str] = "poisson"

    def metric(self, columns: int) -> Metric:
        return Regression(exponential=True)

    def check(self, output_shape: tuple[int, ...], target: Array) -> Array:
        if target.size and not target.min() >= 0:
            raise DataError.at("target", f"poisson wants counts >= 0, got {target.min():g}")
        return target

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.poisson(2.0, shape).astype(np.float64)

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        np.exp(y, out=dy)
        np.multiply(target, y, out=work)
        np.subtract(dy, work, out=work)
        dy -= target
        each: Array = np.add.reduce(work, axis=-1)
        return each


@dataclass(frozen=True)
class CosineSimilarity(Differences):
    """Minus the cosine of the angle between output and target, over the last axis: -1 is best.

    Source: Keras's CosineSimilarity; a vector shorter than 1e-7 is divided by that.
    """

    kind: ClassVar[str] = "cosine_similarity"
    averages: ClassVar[bool] = False

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        _unit(target, work)
        norm, short = _unit(y, dy)
        cosine: Array = np.vecdot(dy, work)[:, None]
        dy *= np.where(short, 0.0, cosine)
        dy -= work
        dy /= norm
        return -cosine[:, 0]


def _unit(x: Array, out: Array) -> tuple[Array, Array]:
    """Write each vector, brought to length 1, to out; return its norm, and whether it is too short.

    Divided by the largest entry first: no square overflows.
    Shapes: x and out (positions, n) -> (positions, 1) each.
    """
    np.abs(x, out=out)
    largest = np.maximum.reduce(out, axis=-1, keepdims=True)
    largest = np.maximum(largest, np.finfo(x.dtype).tiny)
    np.divide(x, largest, out=out)
    norm = np.sqrt(np.vecdot(out, out))[:, None]
    divisor = np.maximum(norm, _LEAST_NORM / largest)
    out /= divisor
    return divisor * largest, norm < divisor
