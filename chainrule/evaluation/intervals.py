"""What a measured number may be off by: intervals at 95 % of a share, of a mean, of a median."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = [
    "CONFIDENCE",
    "Z_SCORE",
    "Estimate",
    "around",
    "mean",
    "plain",
    "share",
    "standard_error",
]

CONFIDENCE = 0.95
Z_SCORE = 1.959963984540054  # the 97.5 % quantile of the normal distribution

# {"value", "low", "high"}; the ends are None where there is too little to tell.
Estimate = dict[str, float | None]


def plain(value: float, low: float = math.nan, high: float = math.nan) -> Estimate:
    """Return an estimate; what is not finite is None."""
    numbers = {"value": float(value), "low": float(low), "high": float(high)}
    return {name: one if math.isfinite(one) else None for name, one in numbers.items()}


def around(
    value: float, error: float, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """Return a value with its standard error as a normal interval, within the possible values."""
    return plain(value, max(value - Z_SCORE * error, least), min(value + Z_SCORE * error, most))


def share(hits: float, count: int) -> Estimate:
    """Return a share with its score interval.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    p, scale = hits / count, 1.0 + Z_SCORE * Z_SCORE / count
    middle = p + Z_SCORE * Z_SCORE / (2 * count)
    half = Z_SCORE * math.sqrt(p * (1.0 - p) / count + Z_SCORE * Z_SCORE / (4 * count * count))
    return plain(p, max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0))


def standard_error(values: Array, rows: Array | None = None) -> float:
    """Return the standard error of the mean of values, of which those of a row go together.

    Shapes: values (positions,), rows (positions,) the number of each one's row, from 0; None: each
    has a row of its own.  NaN, if there is one row only.
    Source: Cameron & Miller (2015), A practitioner's guide to cluster-robust inference.
    """
    off = values - values.mean()
    totals = off if rows is None else np.bincount(rows, off)[np.bincount(rows) > 0]
    count = len(totals)
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1) * float(totals @ totals)) / len(values)


def mean(
    values: Array, rows: Array | None = None, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """Return the mean of values, with its normal interval.  Shapes: as ``standard_error``."""
    return around(float(values.mean()), standard_error(values, rows), least, most)
