"""Whether what was called 80 % probable came true four times in five."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["BINS", "brier", "expected_error", "reliability"]

BINS = 10


def _binned(probability: Array, came_true: Array) -> tuple[Array, Array, Array]:
    """Return by bin the rows, the sum of the probabilities, and how many came true.

    Bin b holds probabilities from b / 10 on, the last one 1 too.
    """
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(place, minlength=BINS)
    sums = np.bincount(place, probability, minlength=BINS)
    return rows, sums, np.bincount(place, came_true, minlength=BINS)


def expected_error(probability: Array, came_true: Array) -> float:
    """Return the mean over the rows of |observed share - mean probability| of each one's bin.

    Source: Naeini et al. (2015), Guo et al. (2017).
    """
    _, sums, true = _binned(probability, came_true)
    return float(np.abs(true - sums).sum()) / len(probability)


def reliability(probability: Array, came_true: Array) -> list[dict[str, Any]]:
    """Return the bins that have rows: what was said, and what came true."""
    rows, sums, true = _binned(probability, came_true)
    return [
        {
            "low": b / BINS,
            "high": (b + 1) / BINS,
            "rows": int(rows[b]),
            "probability": float(sums[b] / rows[b]),
            "observed": float(true[b] / rows[b]),
        }
        for b in range(BINS)
        if rows[b]
    ]


def brier(probabilities: Array, truth: Array) -> Array:
    """Return each row's squared distance from what came true; of two classes that of one.

    Shapes: probabilities (rows, classes), truth (rows,) class numbers -> (rows,).
    Source: Brier (1950).
    """
    right = probabilities[np.arange(len(truth)), truth]
    if probabilities.shape[1] == 2:
        return np.square(1.0 - right)
    squares: Array = np.square(probabilities).sum(axis=1)
    return squares - 2.0 * right + 1.0
