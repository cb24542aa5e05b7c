"""Losses of probabilities, from logits: cross-entropies and the divergence of distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from chainrule import kernels
from chainrule.losses.base import Loss
from chainrule.losses.checks import check_classes, check_distributions, check_probabilities
from chainrule.metrics import BinaryAccuracy, Metric, SoftmaxAccuracy

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["BinaryCrossEntropy", "KullbackLeibler", "SoftmaxCrossEntropy", "powers", "shift"]


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Mean cross-entropy in nats over all entries of independent logits.

    Units: target is a probability, 0 to 1; smoothing moves it toward one half.
    Source: log(1 + exp(y)) - target y, written as softplus(-|y|) + max(y, 0) - target y.
    """

    label_smoothing: float = 0.0
    kind: ClassVar[str] = "binary_cross_entropy"

    def metric(self, columns: int) -> Metric:
        return BinaryAccuracy()

    def check(self, output_shape: tuple[int, ...], target: Array) -> Array:
        check_probabilities(self.kind, target)
        return target

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.integers(0, 2, shape).astype(np.float64)

    def _write_plain(self, y: Array, target: Array, dy: Array, loss: Array) -> bool:
        if self.label_smoothing:
            return False
        kernels.binary_cross_entropy(y, target, dy, loss)
        return True

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        if self.label_smoothing:
            np.multiply(target, 1.0 - self.label_smoothing, out=work)
            work += 0.5 * self.label_smoothing
            target = work
        np.abs(y, out=dy)
        np.negative(dy, out=dy)
        np.exp(dy, out=dy)
        np.log1p(dy, out=dy)
        each: Array = np.add.reduce(dy, axis=-1)
        np.greater(y, 0.0, out=dy)  # max(y, 0) - target y, entry by entry: sums would cancel
        dy -= target
        dy *= y
        each += np.add.reduce(dy, axis=-1)
        kernels.ELEMENTWISE["sigmoid"].value(y, dy)
        dy -= target
        return each


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """Cross-entropy in nats of logits over the last axis with class numbers or probabilities.

    Smoothing moves that share of the target from its class to all of them alike, as in Keras.
    """

    label_smoothing: float = 0.0
    kind: ClassVar[str] = "softmax_cross_entropy"
    averages: ClassVar[bool] = False

    def metric(self, columns: int) -> Metric:
        return SoftmaxAccuracy()

    def takes_classes(self, columns: int) -> bool:
        return True

    def check(self, output_shape: tuple[int, ...], target: Array) -> Array:
        if self.is_classes(output_shape, target):
            check_classes(output_shape[-1], target)
        else:
            check_distributions(self.kind, target)
        return target

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.integers(0, shape[-1], shape[:-1])

    def _write_plain(self, y: Array, target: Array, dy: Array, loss: Array) -> bool:
        if self.label_smoothing or target.ndim == y.ndim:
            return False
        flat = y.reshape(-1, y.shape[-1])
        kernels.softmax_cross_entropy(flat, target.reshape(-1), dy.reshape(flat.shape), loss)
        return True

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        if target.ndim == y.ndim:
            return self._of_shares(y, target, dy, work)
        rows, n, smoothing = np.arange(len(y)), y.shape[-1], self.label_smoothing
        shift(y, dy)
        aligned: Array = (1.0 - smoothing) * dy[rows, target]
        if smoothing:
            aligned += (smoothing / n) * np.add.reduce(dy, axis=-1)
        total = powers(dy)
        dy /= total
        dy[rows, target] -= 1.0 - smoothing
        if smoothing:
            dy -= smoothing / n
        return np.log(total[:, 0]) - aligned

    def _of_shares(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        if self.label_smoothing:
            np.multiply(target, 1.0 - self.label_smoothing, out=work)
            work += self.label_smoothing / y.shape[-1]
            target = work
        mass = np.add.reduce(target, axis=-1, keepdims=True)
        shift(y, dy)
        aligned = np.vecdot(dy, target)
        total = powers(dy)
        dy *= mass / total
        dy -= target
        each: Array = np.log(total[:, 0]) * mass[:, 0] - aligned
        return each


@dataclass(frozen=True)
class KullbackLeibler(Loss):
    """The divergence in nats of softmax(y) from the target's distribution over the last axis.

    Source: sum of target (log target - log softmax(y)), where 0 log 0 is 0.
    """

    kind: ClassVar[str] = "kullback_leibler"
    averages: ClassVar[bool] = False

    def metric(self, columns: int) -> Metric:
        return SoftmaxAccuracy()

    def check(self, output_shape: tuple[int, ...], target: Array) -> Array:
        check_distributions(self.kind, target)
        return target

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return rng.dirichlet(np.ones(shape[-1]), shape[:-1])

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        mass = np.add.reduce(target, axis=-1, keepdims=True)
        shift(y, dy)
        work.fill(0.0)
        np.log(target, out=work, where=target > 0.0)
        work -= dy  # entry by entry: sums would cancel
        total = powers(dy)
        dy *= mass / total
        dy -= target
        each: Array = np.vecdot(work, target) + np.log(total[:, 0]) * mass[:, 0]
        return each


def shift(y: Array, out: Array) -> None:
    """Write logits, less the largest of their position, to out: no power of them overflows."""
    np.subtract(y, np.maximum.reduce(y, axis=-1, keepdims=True), out=out)


def powers(shifted: Array) -> Array:
    """Write the powers of e in place; return their sums.  Shapes: (positions, n) -> (..., 1)."""
    np.exp(shifted, out=shifted)
    return np.add.reduce(shifted, axis=-1, keepdims=True)
