"""How well independent yes-or-no labels are told: together, and each by itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation import calibration
from chainrule.evaluation.classes import Counts
from chainrule.evaluation.intervals import Estimate, mean, plain
from chainrule.evaluation.ranking import Ranking

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["LabelScores"]

MAX_LISTED = 100
MAX_CURVES = 20


@dataclass(frozen=True)
class LabelScores:
    """Each label's logit beside its truth.  ``rows`` as ``standard_error``.

    Shapes: logits (positions, labels), truth alike, 0 or 1.
    """

    logits: Array
    truth: Array
    rows: Array | None = None

    @cached_property
    def right(self) -> Array:
        """1 where a label is told right.  Shapes: (positions, labels) of float64."""
        hits: Array = ((self.logits > 0) == (self.truth > 0)).astype(np.float64)
        return hits

    @cached_property
    def each(self) -> Array:
        """What each position adds to the accuracy.  Shapes: (positions,)."""
        shares: Array = self.right.mean(axis=1)
        return shares

    @cached_property
    def counts(self) -> Counts:
        """What the table by label is made of."""
        said, true = self.logits > 0, self.truth > 0
        return Counts((said & true).sum(axis=0), said.sum(axis=0), true.sum(axis=0))

    @cached_property
    def rankings(self) -> list[Ranking]:
        """The order of the rows by each label's logit."""
        shown = range(min(self.logits.shape[1], MAX_LISTED))
        return [Ranking.of(self.logits[:, k], self.truth[:, k] > 0) for k in shown]

    @cached_property
    def probabilities(self) -> Array:
        """The probability of every label."""
        return np.exp(-np.logaddexp(0.0, -self.logits))

    def measure(self) -> dict[str, Estimate]:
        """Return the metrics of all labels together."""
        counts, sign = self.counts, 2.0 * self.truth - 1.0
        right, said, true = (int(one.sum()) for one in (counts.right, counts.said, counts.true))
        surprise = np.logaddexp(0.0, -sign * self.logits)
        found = {
            "accuracy": mean(self.each, self.rows, 0.0, 1.0),
            "exact_match": mean(self.right.min(axis=1), self.rows, 0.0, 1.0),
            "log_loss": mean(surprise.mean(axis=1), self.rows, 0.0),
            "brier": mean(np.square(self.probabilities - self.truth).mean(axis=1), self.rows, 0.0),
            "calibration_error": plain(calibration.expected_error(*self._said())),
            "f1_micro": plain(2 * right / max(said + true, 1)),
        }
        for name in ("precision", "recall", "f1"):
            found[f"{name}_macro"] = plain(float(getattr(counts, name).mean()))
        ranked = [one for one in self.rankings if one.both]
        if ranked:
            found["roc_auc"] = plain(float(np.mean([one.auc for one in ranked])))
            precisions = [one.average_precision() for one in ranked]
            found["average_precision"] = plain(float(np.mean(precisions)))
        return found

    def table(self) -> list[dict[str, Any]]:
        """Return precision, recall, f1 and more by label, its number from 0."""
        shown = range(len(self.rankings))
        rows = self.counts.table(shown, range(self.logits.shape[1]))
        accuracy = self.right.mean(axis=0)
        return [
            {**row, "accuracy": float(accuracy[k]), "roc_auc": self._auc(k)}
            for k, row in enumerate(rows)
        ]

    def detail(self) -> dict[str, Any]:
        """Return the curves of the first labels, and the calibration of all."""
        return {
            "curves": [
                {
                    "label": k,
                    "roc_auc": one.area(),
                    "average_precision": one.average_precision(),
                    **(one.curves() or {}),
                }
                for k, one in enumerate(self.rankings[:MAX_CURVES])
                if one.both
            ],
            "calibration": calibration.reliability(*self._said()),
        }

    def _auc(self, label: int) -> float | None:
        ranking = self.rankings[label]
        return ranking.auc if ranking.both else None

    def _said(self) -> tuple[Array, Array]:
        return self.probabilities.ravel(), self.truth.ravel().astype(np.float64)
