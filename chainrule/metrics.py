"""Metrics of an epoch as running float64 sums: one cut in two by a crash ends with equal bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from chainrule import kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.kernels import Array

__all__ = ["BinaryAccuracy", "Metric", "Regression", "SoftmaxAccuracy", "Tallies", "Tally"]


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
        kernels.count_right(y, right, sums)

    def result(self, sums: Array, unit: Array | float) -> dict[str, float]:
        return {"accuracy": float(sums[0] / max(sums[1], 1.0))}


class BinaryAccuracy:
    """The share of entries on the right side of one half.  Sums: right, all."""

    def size(self, columns: int) -> int:
        return 2

    def add(self, sums: Array, y: Array, target: Array, work: Array) -> None:
        kernels.count_agreeing(y, target.reshape(y.shape), sums)

    def result(self, sums: Array, unit: Array | float) -> dict[str, float]:
        return {"accuracy": float(sums[0] / max(sums[1], 1.0))}


@dataclass(frozen=True)
class Regression:
    """Mean squared and absolute error over all entries, and R2, the mean over the columns.

    Units: mse in the target unit squared, mae in the target unit.
    Sums: rows, then by column the errors squared, the errors' sizes, the targets, their squares.
    Source: R2 as scikit-learn's ``r2_score``: a constant column counts 1 if fitted exactly, else 0.
    ``exponential``: outputs are logarithms of what is compared.
    """

    exponential: bool = False

    def size(self, columns: int) -> int:
        return 1 + 4 * columns

    def add(self, sums: Array, y: Array, target: Array, work: Array) -> None:
        shape = -1, y.shape[-1]
        if self.exponential:
            y = np.exp(y, out=work)
        kernels.add_errors(y.reshape(shape), target.reshape(shape), work.reshape(shape), sums)

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


class Tally:
    """The running sums of one output: ``sums`` begins with the loss times positions, and those."""

    def __init__(self, metric: Metric, columns: int, unit: Array | float = 1.0) -> None:
        self.metric = metric
        self.unit = unit
        self.sums = np.zeros(2 + metric.size(columns))

    def add(
        self,
        loss: Array,
        y: Array,
        target: Array,
        work: Array,
        mask: Array | None = None,
    ) -> None:
        """Add a batch and its mean loss; of positions that the mask has as False, nothing counts.

        Shapes: loss (), y and work (batch, ..., n), target as the loss wants it, mask (batch,
        steps).
        """
        if mask is not None:
            y, target, work = y[mask], target[mask], work[mask]
        positions = y.size // y.shape[-1]
        kernels.accumulate(loss, positions, self.sums[:2])
        if positions:
            self.metric.add(self.sums[2:], y, target, work)

    @property
    def loss(self) -> float:
        """The mean loss of all that was added."""
        return float(self.sums[0] / max(self.sums[1], 1.0))

    def result(self) -> dict[str, float]:
        """Return the loss and the metrics of all that was added."""
        return {"loss": self.loss, **self.metrics()}

    def metrics(self) -> dict[str, float]:
        """Return the metrics, without the loss."""
        return self.metric.result(self.sums[2:], self.unit)


class Tallies:
    """The running sums of an epoch, of every output: ``sums`` is one vector of them all.

    ``weights`` are those of the outputs' losses in the total.
    """

    def __init__(self, parts: Mapping[str, Tally], weights: Mapping[str, float]) -> None:
        self.parts = parts
        self._weights = weights
        self.sums = np.concatenate([part.sums for part in parts.values()])
        start = 0
        for part in parts.values():
            part.sums = self.sums[start : start + part.sums.size]
            start += part.sums.size

    def result(self) -> dict[str, float]:
        """Return the loss and the metrics, those of several outputs as ``output.metric``."""
        found = {"loss": sum(self._weights[name] * part.loss for name, part in self.parts.items())}
        for name, part in self.parts.items():
            if len(self.parts) > 1:
                found.update({f"{name}.{key}": value for key, value in part.result().items()})
            else:
                found.update(part.metrics())
        return found

    def clear(self) -> None:
        """Begin anew."""
        self.sums.fill(0.0)
