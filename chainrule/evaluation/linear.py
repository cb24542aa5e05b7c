"""Linear models of the features: the least that a network should be better than."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from chainrule.evaluation.minimise import minimise

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["Design", "Linear", "labels_of", "logistic", "ridge", "softmax_of"]

PENALTY = 1.0  # of half the squared weights of standardised features, as scikit-learn's defaults
STEPS = 30  # more moves a row or two, where classes are nearly apart
TOLERANCE = 3e-3


@dataclass(frozen=True)
class Linear:
    """y = features @ weights + bias.  Shapes: (features, outputs), (outputs,)."""

    weights: Array
    bias: Array

    def __call__(self, features: Array) -> Array:
        return features @ self.weights + self.bias


class Design:
    """The features to fit on, standardised: a column of zeros where they do not differ.

    Shapes: features (rows, features) of float64, which are changed in place.
    """

    def __init__(self, features: Array) -> None:
        self.mean: Array = features.mean(axis=0)
        features -= self.mean
        spread = np.sqrt(np.einsum("ij,ij->j", features, features) / len(features))
        self.scale: Array = np.where(spread > 1e-12 * np.abs(self.mean), spread, np.inf)
        features /= self.scale
        self.x = features

    @cached_property
    def squares(self) -> Array:
        """The products of the features with each other.  Shapes: (features, features)."""
        products: Array = self.x.T @ self.x
        return products

    def unscaled(self, weights: Array, bias: Array) -> Linear:
        """Return the model of the features as they come."""
        plain = weights / self.scale[:, None]
        return Linear(plain, bias - self.mean @ plain)


def ridge(design: Design, target: Array) -> Linear:
    """Return the least squares with a penalty on the weights.  Shapes: target (rows, outputs).

    Source: Hoerl & Kennard (1970); as scikit-learn's ``Ridge(alpha=1)`` on standardised features.
    """
    middle = target.mean(axis=0)
    curvature = design.squares + PENALTY * np.eye(len(design.squares))
    return design.unscaled(np.linalg.solve(curvature, design.x.T @ (target - middle)), middle)


def logistic(
    design: Design,
    goal: Array,
    *,
    independent: bool,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
) -> Linear:
    """Return logistic regression: the classes' shares, or ``independent`` labels.

    The penalty on the weights is that of scikit-learn's ``LogisticRegression(C=1)``. The curvature
    has a bound that never changes, which is where the minimiser begins.
    Shapes: goal (rows, outputs), which is one-hot unless independent.
    Source: Boehning (1992), Multinomial logistic regression algorithm.
    """
    rows, bound = len(goal), 0.25 if independent else 0.5
    curvature = bound * design.squares + PENALTY * np.eye(len(design.squares))
    inverse = np.linalg.inv(curvature)
    link = labels_of if independent else softmax_of
    goals = np.ascontiguousarray(goal.T)  # outputs first: sums over them are then of whole rows

    def loss(place: Array) -> tuple[float, Array]:
        weights = place[:, 1:]
        scores = weights @ design.x.T
        scores += place[:, :1]
        log_shares, shares = link(scores, axis=0)
        surprise = -float(np.vdot(goals, log_shares))
        if independent:
            surprise -= float(np.vdot(1.0 - goals, log_shares - scores))
        shares -= goals
        slope = np.empty_like(place)
        slope[:, 0] = shares.sum(axis=1)
        slope[:, 1:] = shares @ design.x
        slope[:, 1:] += PENALTY * weights
        return surprise + PENALTY / 2 * float(np.sum(np.square(weights))), slope

    def precondition(slope: Array) -> Array:
        step = np.empty_like(slope)
        step[:, 0] = slope[:, 0] / (bound * rows)
        step[:, 1:] = slope[:, 1:] @ inverse
        return step

    start = np.zeros((goal.shape[1], 1 + design.x.shape[1]))
    start[:, 0] = _first(goal, independent=independent)
    place = minimise(loss, start, precondition, steps=steps, tolerance=tolerance)
    return design.unscaled(place[:, 1:].T, place[:, 0])


def softmax_of(scores: Array, axis: int = -1) -> tuple[Array, Array]:
    """Return the logarithms of the classes' probabilities, and these.  Shapes: all alike."""
    log_shares = scores - scores.max(axis=axis, keepdims=True)
    shares = np.exp(log_shares)
    total = shares.sum(axis=axis, keepdims=True)
    shares /= total
    log_shares -= np.log(total)
    return log_shares, shares


def labels_of(scores: Array, axis: int = -1) -> tuple[Array, Array]:
    """Return the logarithms of the labels' probabilities, and these.  Shapes: all alike."""
    log_shares = -np.logaddexp(0.0, -scores)
    return log_shares, np.exp(log_shares)


def _first(goal: Array, *, independent: bool) -> Array:
    """Return the bias alone that fits best; what never occurs counts half a row."""
    counts = np.maximum(goal.sum(axis=0), 0.5)
    others = np.maximum(len(goal) - goal.sum(axis=0), 0.5) if independent else float(len(goal))
    bias: Array = np.log(counts / others)
    return bias
