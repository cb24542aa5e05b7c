"""Losses of classes that are right or wrong, never in between: hinge, focal, and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from chainrule.errors import DataError
from chainrule.losses.base import Loss
from chainrule.losses.checks import check_classes
from chainrule.losses.entropy import SoftmaxCrossEntropy, powers, shift
from chainrule.metrics import BinaryAccuracy, Metric, SoftmaxAccuracy

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["CostMatrix", "Focal", "Hinge"]


class Decision(Loss):
    """A loss of one logit for two classes, 0 or 1, or of one for each class.

    Shapes: y (..., 1) and target alike, 0 or 1; or y (..., classes) and class numbers (...) or
    one-hot rows.
    """

    averages: ClassVar[bool] = False

    def metric(self, columns: int) -> Metric:
        return BinaryAccuracy() if columns == 1 else SoftmaxAccuracy()

    def takes_classes(self, columns: int) -> bool:
        return columns > 1

    def check(self, output_shape: tuple[int, ...], target: Array) -> Array:
        if self.is_classes(output_shape, target):
            check_classes(output_shape[-1], target)
            return target
        if not ((target == 0) | (target == 1)).all():
            raise DataError.at("target", f"{self.kind} wants classes as 0 or 1")
        if output_shape[-1] == 1:
            return target
        if not (target.sum(axis=-1) == 1).all():
            raise DataError.at("target", f"{self.kind} wants one 1 in each row of one-hot classes")
        classes: Array = target.argmax(axis=-1)
        return classes

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        if shape[-1] == 1:
            return rng.integers(0, 2, shape).astype(np.float64)
        return rng.integers(0, shape[-1], shape[:-1])

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        if y.shape[-1] == 1:
            np.multiply(target, 2.0, out=work)
            work -= 1.0
            return self._binary(y[:, 0], work[:, 0], dy[:, 0])
        classes = target.argmax(axis=-1) if target.ndim == y.ndim else target
        return self._many(y, classes, dy, work)

    def _binary(self, y: Array, sign: Array, dy: Array) -> Array:
        """Return each loss and write its gradient.  Shapes: all (positions,); sign is -1 or 1."""
        raise NotImplementedError

    def _many(self, y: Array, classes: Array, dy: Array, work: Array) -> Array:
        """Return each loss and write its gradient.  Shapes: classes (positions,), as ``_each``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Hinge(Decision):
    """max(0, 1 + the best wrong score - the right one); for one unit max(0, 1 - y), 0 as -1.

    Source: Crammer & Singer (2001).  Keras's CategoricalHinge also counts a wrong score of 0, which
    no class has.
    """

    kind: ClassVar[str] = "hinge"

    def _binary(self, y: Array, sign: Array, dy: Array) -> Array:
        each: Array = np.maximum(1.0 - sign * y, 0.0)
        np.multiply(sign, each > 0.0, out=dy)
        np.negative(dy, out=dy)
        return each

    def _many(self, y: Array, classes: Array, dy: Array, work: Array) -> Array:
        rows = np.arange(len(y))
        np.copyto(work, y)
        work[rows, classes] = -np.inf
        best = work.argmax(axis=-1)
        each: Array = np.maximum(1.0 + (y[rows, best] - y[rows, classes]), 0.0)
        dy.fill(0.0)
        dy[rows, best] = each > 0.0
        dy[rows, classes] -= each > 0.0
        return each


@dataclass(frozen=True)
class Focal(Decision):
    """alpha (1 - p)^gamma (-log p), p the probability of the right class: softmax, or sigmoid.

    Source: Lin et al. (2017), as Keras's CategoricalFocalCrossentropy, and for one unit
    BinaryFocalCrossentropy, which without class balancing leaves alpha out.
    """

    gamma: float = 2.0
    alpha: float = 0.25
    kind: ClassVar[str] = "focal"

    def _binary(self, y: Array, sign: Array, dy: Array) -> Array:
        margin = sign * y
        surprise = np.log1p(np.exp(-np.abs(margin))) - np.minimum(margin, 0.0)
        each, slope = self._focused(surprise)
        slope *= np.expm1(-surprise)  # p - 1: the slope of -log p in the margin
        np.multiply(slope, sign, out=dy)
        return each

    def _many(self, y: Array, classes: Array, dy: Array, work: Array) -> Array:
        rows = np.arange(len(y))
        shift(y, dy)
        chosen = dy[rows, classes]
        total = powers(dy)
        dy /= total
        dy[rows, classes] -= 1.0
        each, slope = self._focused(np.log(total[:, 0]) - chosen)
        each *= self.alpha
        slope *= self.alpha
        dy *= slope[:, None]
        return each

    def _focused(self, surprise: Array) -> tuple[Array, Array]:
        """Return (1 - p)^gamma s and its slope in the surprise s = -log p."""
        wrong = -np.expm1(-surprise)  # 1 - p, without a cancellation where p is nearly 1
        weight = np.power(wrong, self.gamma)
        ratio = np.ones_like(surprise)  # s / (1 - p), 1 in the limit
        np.divide(surprise, wrong, out=ratio, where=wrong > 0.0)
        slope = weight * (1.0 + self.gamma * ratio * (1.0 - wrong))
        return weight * surprise, slope


@dataclass(frozen=True, eq=False)
class CostMatrix(SoftmaxCrossEntropy):
    """sum_j cost[t, j] (-log(1 - p_j)), p the softmax: what each wrong class costs.

    For two classes this is the cross-entropy with the weights cost[0, 1] and cost[1, 0].
    Shapes: costs (classes, classes), true class first, zeros on the diagonal.
    """

    costs: Array | None = None

    def _write_plain(self, y: Array, target: Array, dy: Array, loss: Array) -> bool:
        return False  # the kernel of the plain loss knows no costs

    def _each(self, y: Array, target: Array, dy: Array, work: Array) -> Array:
        """Treat the likeliest class m by itself: only there can 1 - p vanish."""
        costs = np.asarray(self.costs, y.dtype)
        rows = np.arange(len(y))
        if target.ndim == y.ndim:
            np.matmul(target, costs, out=work)
        else:
            np.take(costs, target, axis=0, out=work, mode="clip")
        likeliest = y.argmax(axis=-1)
        of_likeliest = work[rows, likeliest][:, None]
        work[rows, likeliest] = 0.0
        others, log_rest, log_total = self._others(y, likeliest)
        np.subtract(y, log_total, out=dy)
        np.exp(dy, out=dy)  # p
        dy[rows, likeliest] *= 0.0
        each: Array = (of_likeliest * (log_total - log_rest))[:, 0]
        each -= np.vecdot(work, np.log1p(-dy))
        work /= 1.0 - dy  # cost / (1 - p), none of these p above one half
        rest = of_likeliest - np.vecdot(work, dy)[:, None]
        work += rest
        dy *= work
        others *= of_likeliest
        dy -= others
        dy[rows, likeliest] = (np.exp(y[rows, likeliest][:, None] - log_total) * rest)[:, 0]
        return each

    @staticmethod
    def _others(y: Array, likeliest: Array) -> tuple[Array, Array, Array]:
        """Return the softmax without the likeliest class, and the log-sums without and with it."""
        rows = np.arange(len(y))
        others = y.copy()
        others[rows, likeliest] = -np.inf
        second = np.maximum.reduce(others, axis=-1, keepdims=True)
        others -= second
        total = powers(others)
        others /= total
        log_rest = np.log(total) + second
        return others, log_rest, np.logaddexp(log_rest, y[rows, likeliest][:, None])
