"""How well classes are told apart: shares, a table by class, curves, calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation import calibration
from chainrule.evaluation.intervals import Estimate, around, mean, plain, share
from chainrule.evaluation.ranking import Ranking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.kernels import Array

__all__ = ["ClassScores", "Counts"]

MAX_CONFUSED = 20  # classes of the confusion matrix, those with the most rows
MAX_LISTED = 100  # classes of the table
MAX_CURVES = 20  # with so many classes each has its curves


@dataclass(frozen=True)
class Counts:
    """How often each class was right, was said, and was true.  Shapes: (classes,) each."""

    right: Array
    said: Array
    true: Array

    @property
    def precision(self) -> Array:
        """The share of what was said that is right; 0 where nothing was."""
        return self.right / np.maximum(self.said, 1)

    @property
    def recall(self) -> Array:
        """The share of what is true that was found; 0 where nothing is."""
        return self.right / np.maximum(self.true, 1)

    @property
    def f1(self) -> Array:
        """The harmonic mean of both.  Source: van Rijsbergen (1979)."""
        both: Array = 2 * self.right / np.maximum(self.said + self.true, 1)
        return both

    def averages(self) -> dict[str, Estimate]:
        """Return the means over the classes that occur, plain and by the rows of each."""
        there = (self.said + self.true) > 0
        found = {}
        for name in ("precision", "recall", "f1"):
            values: Array = getattr(self, name)
            found[f"{name}_macro"] = plain(float(values[there].mean()))
            found[f"{name}_weighted"] = plain(float(values @ self.true) / int(self.true.sum()))
        return found

    def table(self, places: Sequence[int], words: Sequence[Any]) -> list[dict[str, Any]]:
        """Return a row for each class of these places."""
        columns = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return [
            {
                "label": words[place],
                **{key: float(values[place]) for key, values in columns.items()},
                "support": int(self.true[place]),
                "predicted": int(self.said[place]),
            }
            for place in places
        ]


@dataclass(frozen=True)
class ClassScores:
    """The scores of every class beside the true one.

    ``probable``: the scores are logarithms of probabilities. ``rows`` as ``standard_error``.
    Shapes: scores (positions, classes), truth (positions,) class numbers.
    """

    scores: Array
    truth: Array
    probable: bool
    rows: Array | None = None

    @cached_property
    def said(self) -> Array:
        """The likeliest class of each position."""
        best: Array = self.scores.argmax(axis=1)
        return best

    @cached_property
    def right(self) -> Array:
        """1 where that is the true one.  Shapes: (positions,) of float64."""
        hits: Array = (self.said == self.truth).astype(np.float64)
        return hits

    @property
    def each(self) -> Array:
        """What each position adds to the accuracy.  Shapes: (positions,)."""
        return self.right

    @cached_property
    def counts(self) -> Counts:
        """What the table by class is made of."""
        size = self.scores.shape[1]
        right = np.bincount(self.truth, self.right, minlength=size).astype(np.int64)
        said = np.bincount(self.said, minlength=size)
        return Counts(right, said, np.bincount(self.truth, minlength=size))

    @cached_property
    def probabilities(self) -> Array:
        """The probability of every class.  Shapes: (positions, classes)."""
        return np.exp(self.scores)

    @cached_property
    def rankings(self) -> dict[int, Ranking]:
        """The order of the rows by their score of a class; of two classes by that of the second."""
        size = self.scores.shape[1]
        if size == 2:
            return {1: Ranking.of(self.scores[:, 1] - self.scores[:, 0], self.truth == 1)}
        scores = self.probabilities if self.probable else self.scores
        wanted = range(size if size <= MAX_CURVES else 0)
        return {k: Ranking.of(scores[:, k], self.truth == k) for k in wanted}

    def measure(self) -> dict[str, Estimate]:
        """Return the metrics of all classes together."""
        found = {
            "accuracy": self._accuracy(),
            "balanced_accuracy": self._balanced(),
            **self.counts.averages(),
        }
        if self.probable:
            each = np.arange(len(self.truth))
            found["log_loss"] = mean(-self.scores[each, self.truth], self.rows, 0.0)
            found["brier"] = mean(calibration.brier(self.probabilities, self.truth), self.rows, 0.0)
            error = calibration.expected_error(*self._confidence())
            found["calibration_error"] = plain(error)
        ranked = [one for one in self.rankings.values() if one.both]
        if len(ranked) == 1:
            found["roc_auc"] = ranked[0].area()
            found["average_precision"] = plain(ranked[0].average_precision())
        elif ranked:
            found["roc_auc"] = plain(float(np.mean([one.auc for one in ranked])))
            precisions = [one.average_precision() for one in ranked]
            found["average_precision"] = plain(float(np.mean(precisions)))
        return found

    def table(self, words: Sequence[Any]) -> list[dict[str, Any]]:
        """Return precision, recall and f1 by class: of many those with the most rows."""
        return self.counts.table(self._largest(MAX_LISTED), words)

    def confusion(self, words: Sequence[Any]) -> dict[str, Any]:
        """Return how often each true class (a row) was called what; a last one is of all others."""
        shown = self._largest(MAX_CONFUSED)
        others = len(shown) < self.scores.shape[1]
        place = np.full(self.scores.shape[1], len(shown))
        place[shown] = np.arange(len(shown))
        size = len(shown) + others
        flat = np.bincount(place[self.truth] * size + place[self.said], minlength=size * size)
        classes = [words[k] for k in shown]
        return {"classes": classes, "others": others, "counts": flat.reshape(size, size).tolist()}

    def detail(self, words: Sequence[Any]) -> dict[str, Any]:
        """Return the curves and the calibration."""
        found: dict[str, Any] = {
            "curves": [
                {
                    "label": words[k],
                    "roc_auc": one.area(),
                    "average_precision": one.average_precision(),
                    **(one.curves() or {}),
                }
                for k, one in self.rankings.items()
                if one.both
            ]
        }
        if self.probable:
            found["calibration"] = calibration.reliability(*self._confidence())
        return found

    def _accuracy(self) -> Estimate:
        if self.rows is None:
            return share(float(self.right.sum()), len(self.right))
        return mean(self.right, self.rows, 0.0, 1.0)

    def _balanced(self) -> Estimate:
        """Return the mean of the recalls of the classes that are there."""
        there = self.counts.true > 0
        recall, rows = self.counts.recall[there], self.counts.true[there]
        error = math.sqrt(float((recall * (1.0 - recall) / rows).sum())) / len(rows)
        return around(float(recall.mean()), error, 0.0, 1.0)

    def _confidence(self) -> tuple[Array, Array]:
        """Return what was said with which probability, and whether it came true.

        Of two classes that the second is true; of more that the likeliest is.
        """
        if self.scores.shape[1] == 2:
            return self.probabilities[:, 1], (self.truth == 1).astype(np.float64)
        return self.probabilities[np.arange(len(self.said)), self.said], self.right

    def _largest(self, most: int) -> list[int]:
        """Return the classes with the most rows, ascending."""
        order = np.argsort(-self.counts.true, kind="stable")[:most]
        return sorted(order.tolist())
