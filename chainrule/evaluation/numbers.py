"""How far predicted numbers are from the true ones, in the target's own units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation.intervals import Z_SCORE, Estimate, around, mean, plain, standard_error

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["NumberScores"]

BINS = 20  # of the residuals
LEVELS = 10  # of the true values
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAX_COLUMNS = 24  # that are shown one by one


@dataclass(frozen=True)
class NumberScores:
    """Predicted numbers beside the true ones.  ``rows`` as ``standard_error``.

    Shapes: predicted and truth (positions, columns).
    """

    predicted: Array
    truth: Array
    rows: Array | None = None

    @cached_property
    def error(self) -> Array:
        """The residuals: truth less prediction."""
        return self.truth - self.predicted

    @cached_property
    def squared(self) -> Array:
        """The mean of the squared errors of each position.  Shapes: (positions,)."""
        mean_of_columns: Array = np.square(self.error).mean(axis=1)
        return mean_of_columns

    @cached_property
    def each(self) -> Array:
        """The mean of the errors' sizes of each position.  Shapes: (positions,)."""
        mean_of_columns: Array = np.abs(self.error).mean(axis=1)
        return mean_of_columns

    def measure(self) -> dict[str, Estimate]:
        """Return the metrics of all columns: errors over all entries, R2 and medians by column."""
        mse = mean(self.squared, self.rows, 0.0)
        return {
            "mse": mse,
            "rmse": {name: None if one is None else math.sqrt(one) for name, one in mse.items()},
            "mae": mean(self.each, self.rows, 0.0),
            "median_absolute_error": _median(np.abs(self.error)),
            "r2": _explained(self.error, self.truth, self.rows),
        }

    def detail(self) -> dict[str, Any]:
        """Return how the residuals are spread, what was predicted by level, and each column."""
        return {
            "residuals": _spread(self.error.ravel()),
            "by_true_value": _levels(self.predicted.ravel(), self.truth.ravel()),
            "columns": self._columns(),
        }

    def _columns(self) -> list[dict[str, float | None]]:
        """Return the metrics of each column, of the first ones if there are many."""
        count = self.truth.shape[1]
        found = []
        for column in range(min(count, MAX_COLUMNS) if count > 1 else 0):
            one = NumberScores(self.predicted[:, [column]], self.truth[:, [column]])
            found.append({name: each["value"] for name, each in one.measure().items()})
        return found


def _spread(residual: Array) -> dict[str, Any]:
    """Return a histogram and quantiles."""
    alike = residual.min() == residual.max()
    bins = 1 if alike else BINS
    counts, edges = np.histogram(residual, bins)
    quantiles = np.quantile(residual, QUANTILES).tolist()
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "mean": float(residual.mean()),
        "std": float(residual.std()),
        "quantiles": {f"{q:g}": value for q, value in zip(QUANTILES, quantiles, strict=True)},
    }


def _explained(error: Array, truth: Array, rows: Array | None) -> Estimate:
    """Return R2, the mean over the columns, with its interval by the delta method.

    A constant column counts 1 if it is met exactly, else 0, as in scikit-learn's ``r2_score``.
    """
    off = truth - truth.mean(axis=0)
    spread = np.square(off).mean(axis=0)
    missed = np.square(error).mean(axis=0)
    constant = spread <= 1e-12 * np.square(truth).mean(axis=0)
    safe = np.where(constant, 1.0, spread)
    value = float(np.where(constant, missed == 0.0, 1.0 - missed / safe).mean())
    # R2 = 1 - MSE / V: a row moves it by what it adds to either.
    pull = (missed / safe * (np.square(off) - spread) - (np.square(error) - missed)) / safe
    pulls = np.where(constant, 0.0, pull).mean(axis=1)
    return around(value, standard_error(pulls, rows), most=1.0)


def _median(sizes: Array) -> Estimate:
    """Return the median of each column, their mean; the interval is by ranks: no normal errors.

    Source: Conover (1999), Practical nonparametric statistics, 3.2.
    """
    ranked = np.sort(sizes, axis=0)
    count = len(ranked)
    half = Z_SCORE * math.sqrt(count) / 2
    low, high = math.floor(count / 2 - half) - 1, math.ceil(count / 2 + half)
    value = (ranked[(count - 1) // 2] + ranked[count // 2]) / 2
    if low < 0 or high >= count:
        return plain(float(value.mean()))
    return plain(float(value.mean()), float(ranked[low].mean()), float(ranked[high].mean()))


def _levels(predicted: Array, truth: Array) -> list[dict[str, Any]]:
    """Return what was predicted by level of the true value: tenths of the rows."""
    edges = np.unique(np.quantile(truth, np.linspace(0, 1, LEVELS + 1)[1:-1]))
    place = np.searchsorted(edges, truth, side="left")
    rows = np.bincount(place, minlength=len(edges) + 1)
    sums = [
        np.bincount(place, values, minlength=len(rows))
        for values in (truth, predicted, np.abs(truth - predicted))
    ]
    return [
        {
            "rows": int(rows[b]),
            "true_mean": float(sums[0][b] / rows[b]),
            "predicted_mean": float(sums[1][b] / rows[b]),
            "mae": float(sums[2][b] / rows[b]),
        }
        for b in range(len(rows))
        if rows[b]
    ]
