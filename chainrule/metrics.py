"""Metrics of an epoch as running float64 sums: one cut in two by a crash ends with equal bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["METRICS", "Metric", "Tally"]


class Metric(Protocol):
    """A group of metrics: sums that grow by batch, and what follows from them."""

    def size(self, columns: int) -> int:
        """Return how many sums are kept for outputs with a last axis of ``columns``."""
        ...

    def add(self, sums: Array, y: Array, target: Array, work: Array) -> None:
        """Add a batch to the sums; ``work`` is scratch like y."""
        ...

    def result(self, sums: Array, unit: Array | float) -> dict[str, float]:
        """Return the metrics; ``unit`` is the size of a scaled target's 1 in its own unit."""
        ...


class SoftmaxAccuracy:
    """The share of predictions whose largest logit is the right class's.  Sums: right, all."""

    def size(self, columns: int) -> int:
        return 2

    def add(self, sums: Array, y: Array, target: Array, work: Array) -> None:
        right = target.argmax(axis=-1) if target.ndim == y.ndim else target
        sums[0] += np.count_nonzero(y.argmax(axis=-1) == right)
        sums[1] += right.size

    def result(self, sums: Array, unit: Array | float) -> dict[str, float]:
        return {"accuracy": float(sums[0] / max(sums[1], 1.0))}


class BinaryAccuracy:
    """The share of entries on the right side of one half.  Sums: right, all."""

    def size(self, columns: int) -> int:
        return 2

    def add(self, sums: Array, y: Array, target: Array, work: Array) -> None:
        sums[0] += np.count_nonzero((y > 0.0) == (target > 0.5))
        sums[1] += y.size

    def result(self, sums: Array, unit: Array | float) -> dict[str, float]:
        return {"accuracy": float(sums[0] / max(sums[1], 1.0))}


class Regression:
    """Mean squared and absolute error over all entries, and R2, the mean over the columns.

    Units: mse in the target unit squared, mae in the target unit.
    Sums: rows, then by column the errors squared, the errors' sizes, the targets, their squares.
    Source: R2 as scikit-learn's ``r2_score``: a constant column counts 1 if fitted exactly, else 0.
    """

    def size(self, columns: int) -> int:
        return 1 + 4 * columns

    def add(self, sums: Array, y: Array, target: Array, work: Array) -> None:
        columns = y.shape[-1]
        of = sums[1:].reshape(4, columns)
        target, work = target.reshape(-1, columns), work.reshape(-1, columns)
        np.subtract(y.reshape(-1, columns), target, out=work)
        np.abs(work, out=work)
        of[1] += np.add.reduce(work, axis=0, dtype=np.float64)
        np.multiply(work, work, out=work)
        of[0] += np.add.reduce(work, axis=0, dtype=np.float64)
        of[2] += np.add.reduce(target, axis=0, dtype=np.float64)
        np.multiply(target, target, out=work)
        of[3] += np.add.reduce(work, axis=0, dtype=np.float64)
        sums[0] += len(work)

    def result(self, sums: Array, unit: Array | float) -> dict[str, float]:
        rows = max(float(sums[0]), 1.0)
        squared, absolute, total, squares = sums[1:].reshape(4, -1)
        spread = squares - total * total / rows
        constant = spread <= 1e-12 * squares
        explained = 1.0 - squared / np.where(constant, 1.0, spread)
        r2 = np.where(constant, squared == 0.0, explained)
        return {
            "mse": float(np.mean(squared * np.square(unit)) / rows),
            "mae": float(np.mean(absolute * unit) / rows),
            "r2": float(np.mean(r2)),
        }


METRICS: dict[str, Metric] = {
    "softmax_cross_entropy": SoftmaxAccuracy(),
    "binary_cross_entropy": BinaryAccuracy(),
    "mean_squared_error": Regression(),
}


@dataclass
class Tally:
    """The running sums of an epoch: ``sums`` begins with the loss times the rows, and the rows."""

    metric: Metric
    sums: Array
    unit: Array | float = 1.0

    @classmethod
    def of(cls, loss: str, output_shape: tuple[int, ...], unit: Array | float = 1.0) -> Tally:
        """Make an empty tally of a loss's metrics."""
        metric = METRICS[loss]
        return cls(metric, np.zeros(2 + metric.size(output_shape[-1])), unit)

    def add(self, loss: float, y: Array, target: Array, work: Array) -> None:
        """Add a batch and its mean loss."""
        rows = len(y)
        self.sums[0] += loss * rows
        self.sums[1] += rows
        self.metric.add(self.sums[2:], y, target, work)

    def result(self) -> dict[str, float]:
        """Return the loss and the metrics of all that was added."""
        loss = float(self.sums[0] / max(self.sums[1], 1.0))
        return {"loss": loss, **self.metric.result(self.sums[2:], self.unit)}

    def clear(self) -> None:
        """Begin anew."""
        self.sums.fill(0.0)
