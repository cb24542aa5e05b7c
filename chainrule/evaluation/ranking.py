"""How well scores put the right rows first: areas under two curves, and points of these."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation.intervals import Estimate, around, plain

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["MAX_POINTS", "Ranking"]

MAX_POINTS = 200


@dataclass(frozen=True)
class Ranking:
    """Rows from the highest score to the lowest, equal scores as one step.

    Shapes: scores (steps,) descending; hits and misses (steps,) rows of either kind with a score of
    so much or more.
    """

    scores: Array
    hits: Array
    misses: Array

    @classmethod
    def of(cls, scores: Array, truth: Array) -> Ranking:
        """Rank rows.  Shapes: scores (rows,), truth (rows,) of booleans."""
        order = np.argsort(-scores)  # in which order equal ones come does not matter
        ranked = scores[order]
        last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        hits = np.cumsum(truth[order], dtype=np.int64)[last]
        return cls(ranked[last], hits, last + 1 - hits)

    @property
    def positives(self) -> int:
        """The rows that were to be found."""
        return int(self.hits[-1])

    @property
    def negatives(self) -> int:
        """All other rows."""
        return int(self.misses[-1])

    @property
    def both(self) -> bool:
        """Whether there are rows of either kind: without, there is nothing to rank."""
        return self.positives > 0 and self.negatives > 0

    @cached_property
    def _steps(self) -> tuple[Array, Array]:
        """The rows of either kind that each step adds."""
        hits, misses = self.hits.copy(), self.misses.copy()
        hits[1:] -= self.hits[:-1]
        misses[1:] -= self.misses[:-1]
        return hits, misses

    @cached_property
    def auc(self) -> float:
        """The area under the ROC curve: the share of pairs in order, ties counting half.

        NaN without rows of either kind.  Source: Mann & Whitney (1947).
        """
        if not self.both:
            return math.nan
        hits, misses = self._steps
        doubled = int(misses @ (2 * self.hits - hits))  # in whole numbers: exact
        return doubled / (2 * self.positives * self.negatives)

    def area(self) -> Estimate:
        """Return the same area with its interval.  Source: DeLong et al. (1988)."""
        value, m, n = self.auc, self.positives, self.negatives
        if m < 2 or n < 2:
            return plain(value)
        hits, misses = self._steps
        below = (n - self.misses + misses / 2) / n  # of each hit: the misses that it is above
        above = (self.hits - hits / 2) / m
        spread_hits = float(hits @ (below - value) ** 2) / (m - 1)
        spread_misses = float(misses @ (above - value) ** 2) / (n - 1)
        return around(value, math.sqrt(spread_hits / m + spread_misses / n), 0.0, 1.0)

    def average_precision(self) -> float:
        """Return the mean of the precision over the recall, as steps.  NaN without any hit."""
        if not self.positives:
            return math.nan
        hits, _ = self._steps
        return float(hits @ (self.hits / (self.hits + self.misses))) / self.positives

    def roc(self) -> dict[str, list[float]]:
        """Return points of the curve of true against false positives, from (0, 0) to (1, 1)."""
        keep = self._thinned()
        hits, misses = self.hits[keep] / self.positives, self.misses[keep] / self.negatives
        return {
            "false_positive_rate": [0.0, *_short(misses)],
            "true_positive_rate": [0.0, *_short(hits)],
        }

    def precision_recall(self) -> dict[str, list[float]]:
        """Return points of the curve of precision against recall, the recall ascending."""
        keep = self._thinned()
        hits, misses = self.hits[keep], self.misses[keep]
        return {
            "recall": _short(hits / self.positives),
            "precision": _short(hits / (hits + misses)),
        }

    def curves(self) -> dict[str, Any] | None:
        """Return both curves, None without rows of either kind."""
        return (
            {"roc": self.roc(), "precision_recall": self.precision_recall()} if self.both else None
        )

    def _thinned(self) -> Array:
        """Return the places of evenly many steps, the first and the last among them."""
        count = min(len(self.scores), MAX_POINTS - 1)
        return np.unique(np.linspace(0, len(self.scores) - 1, count).round().astype(np.int64))


def _short(values: Array) -> list[float]:
    """Return numbers for a drawing: six places are enough."""
    rounded: list[float] = np.round(values, 6).tolist()
    return rounded
