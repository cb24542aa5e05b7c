"""Class weights: what a row of each class counts, or what each wrong class costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.losses.decisions import CostMatrix, Focal, Hinge
from chainrule.losses.entropy import BinaryCrossEntropy, KullbackLeibler, SoftmaxCrossEntropy

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.losses.base import Loss

__all__ = ["balanced_weights", "class_counts", "class_weights_of", "weigh_classes"]

_PATH = "class_weights"
_OF_CLASSES = (BinaryCrossEntropy, Focal, Hinge, KullbackLeibler, SoftmaxCrossEntropy)


def class_weights_of(
    loss: Loss, output_shape: tuple[int, ...], given: Sequence[Any] | Mapping[str, float]
) -> tuple[Loss, Array | None]:
    """Return the loss with the costs in it if need be, and the weight of each class if not.

    A mapping has class numbers for labels; a class that it leaves out counts 1.
    Raises: SpecError at ``class_weights``, if they fit neither the loss nor the classes.
    """
    if not isinstance(loss, _OF_CLASSES):
        raise SpecError.at(_PATH, f"go with losses of classes, not with {loss.kind}")
    binary = output_shape[-1] == 1
    if isinstance(loss, BinaryCrossEntropy) and not binary:
        raise SpecError.at(_PATH, "want one unit of binary_cross_entropy: labels are no classes")
    classes = 2 if binary else output_shape[-1]
    if isinstance(given, Mapping):
        return loss, _some(_of_labels(given, classes))
    if len(given) != classes:
        raise SpecError.at(_PATH, f"are for {len(given)} classes, the network has {classes}")
    values = _some(np.asarray(given, np.float64))
    if values.ndim == 1:
        return loss, values
    if binary and isinstance(loss, BinaryCrossEntropy):
        return loss, np.array([values[0, 1], values[1, 0]])
    if not isinstance(loss, SoftmaxCrossEntropy) or loss.label_smoothing:
        detail = "as a cost matrix go with a cross-entropy without label smoothing"
        raise SpecError.at(_PATH, detail)
    return CostMatrix(costs=values), None


def _some(weights: Array) -> Array:
    """Return weights of which not all are 0.  Raises: SpecError, if all are."""
    if not weights.any():
        raise SpecError.at(_PATH, "are 0 for every class: there is nothing to learn")
    return weights


def class_counts(target: Array, classes: int) -> Array:
    """Count the rows of each class, or the shares of it that they have.

    Shapes: target (rows, ...) class numbers, or (rows, ..., classes) shares -> (classes,).
    """
    if target.ndim > 1 and target.shape[-1] == classes:
        return np.asarray(target.reshape(-1, classes).sum(axis=0, dtype=np.float64))
    numbers = target.reshape(-1).astype(np.int64, copy=False)
    return np.bincount(numbers, minlength=classes).astype(np.float64)


def balanced_weights(counts: Array) -> list[float]:
    """Return weights by which the classes that there are count alike, with a mean over rows of 1.

    Those are rows / (classes there are * rows of the class), as in scikit-learn; 1 of others.
    """
    there = counts > 0
    weights = np.ones(len(counts))
    weights[there] = counts.sum() / (np.count_nonzero(there) * counts[there])
    return [float(weight) for weight in weights]


def weigh_classes(class_weights: Array, y: Array, target: Array) -> Array:
    """Return the weight of each position; a position of several classes has their mixture's.

    Shapes: class_weights (classes,), target (batch, ...) or like y -> (batch, ...).
    """
    table = class_weights.astype(y.dtype)
    if target.ndim < y.ndim and y.shape[-1] > 1:
        return np.take(table, target)
    if y.shape[-1] > 1:
        return np.asarray(np.matmul(target, table))
    one = target.reshape(y.shape[:-1])
    weights: Array = table[0] + (table[1] - table[0]) * one
    return weights


def _of_labels(given: Mapping[str, float], classes: int) -> Array:
    values = np.ones(classes)
    known = {str(number): number for number in range(classes)}
    for label, weight in given.items():
        if str(label) not in known:
            wanted = f"the classes are 0 to {classes - 1}"
            raise SpecError.at(_PATH, f"there is no class {str(label)!r}; {wanted}")
        values[known[str(label)]] = weight
    return values
