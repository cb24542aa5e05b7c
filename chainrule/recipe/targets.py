"""What the network learns (classes, labels, values) and the way back to the user's units."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, SpecError
from chainrule.recipe.inputs import scale
from chainrule.recipe.values import shown
from chainrule.spec.base import Document
from chainrule.spec.training import LossName, Task, default_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.kernels import Array

__all__ = [
    "ClassTarget",
    "LabelTarget",
    "Target",
    "ValueTarget",
    "check_finite",
    "fit_target",
    "present",
]

MAX_CLASSES = 10_000

Label = int | float | str


class ClassTarget(Document):
    """One class per row; ``classes`` are all values that occur in the dataset, ascending.

    The list is the meaning of the outputs, not a statistic of the training part: a class that only
    occurs in the rows kept aside has an output too, and scoring it there is well defined.
    ``keys`` are the classes as the dataset's tensor holds them; a ``one_hot`` tensor holds a share
    per class instead.
    """

    kind: Literal["classes"] = "classes"
    name: str
    classes: list[Label]
    keys: list[int | float]
    one_hot: bool = False

    def units(self, loss: LossName) -> int:
        return 1 if loss == "binary_cross_entropy" else len(self.classes)

    def encode(self, values: Array, loss: LossName, dtype: str) -> Array:
        """Return what the loss compares with.

        Shapes: (rows,) class numbers, (rows, classes) if one-hot, (rows, 1) if the loss is binary.
        """
        if self.one_hot:
            return values.astype(dtype)
        numbers = np.searchsorted(np.asarray(self.keys), values.reshape(len(values)))
        if loss == "binary_cross_entropy":
            return numbers[:, None].astype(dtype)
        return numbers.astype(np.int64)

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return each row's likeliest class, and all probabilities."""
        if loss == "binary_cross_entropy":
            probabilities = np.concatenate([_sigmoid(-raw), _sigmoid(raw)], axis=1)
        else:
            powers = np.exp(raw - raw.max(axis=1, keepdims=True))
            probabilities = powers / powers.sum(axis=1, keepdims=True)
        return {
            "predictions": [self.classes[i] for i in probabilities.argmax(axis=1)],
            "probabilities": probabilities.tolist(),
            "classes": self.classes,
        }


class LabelTarget(Document):
    """Several independent yes-or-no labels per row, as an array of zeros and ones."""

    kind: Literal["labels"] = "labels"
    name: str
    width: int = Field(ge=2)

    def units(self, loss: LossName) -> int:
        return self.width

    def encode(self, values: Array, loss: LossName, dtype: str) -> Array:
        """Return what the loss compares with.  Shapes: (rows, labels)."""
        return values.astype(dtype)

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return each label as 0 or 1, and its probability."""
        return {
            "predictions": (raw > 0).astype(int).tolist(),
            "probabilities": _sigmoid(raw).tolist(),
        }


class ValueTarget(Document):
    """Numbers; a table's column is standardised over the training part, an array is used as it is.

    ``width`` is None where a row has a bare number.
    """

    kind: Literal["values"] = "values"
    name: str
    width: int | None = None
    mean: float = 0.0
    std: float = Field(1.0, gt=0.0)

    def units(self, loss: LossName) -> int:
        return self.width or 1

    def encode(self, values: Array, loss: LossName, dtype: str) -> Array:
        """Return what the loss compares with.  Shapes: (rows, values)."""
        scaled = (values.astype(np.float64) - self.mean) / self.std
        return scaled.reshape(len(values), self.units(loss)).astype(dtype)

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return the values in the target's own units."""
        values = check_finite(raw * self.std + self.mean)
        return {"predictions": (values[:, 0] if self.width is None else values).tolist()}


Target = Annotated[ClassTarget | LabelTarget | ValueTarget, Field(discriminator="kind")]


def present(tensors: Mapping[str, Array], schema_kind: str, name: str) -> Array:
    """Return the numbers of the rows that have a target, ascending."""
    values = tensors[name]
    if schema_kind == "arrays":
        return np.arange(len(values))
    return np.flatnonzero(~np.isnan(values) if values.dtype.kind == "f" else values >= 0)


def fit_target(
    values: Array,
    train: Array,
    column: Mapping[str, Any],
    task: Task | None,
    loss: LossName | None,
) -> tuple[ClassTarget | LabelTarget | ValueTarget, Task, LossName]:
    """Decide task and loss, and learn the encoding of the target.

    ``values`` are the rows that have one, ``train`` picks the training part of them, ``column`` is
    the schema's description of the column or array.
    Raises: SpecError at ``task`` or ``target``.
    """
    discrete = values.dtype.kind in "iu"  # a table's categories; an array's integers
    task, loss = _resolve(task, loss, discrete=discrete)
    if "shape" in column:
        return _fit_array(values, column["name"], task, loss), task, loss
    if task == "classification":
        return _fit_classes(values, column, loss), task, loss
    name = column["name"]
    if discrete:
        detail = f"column {name!r} holds text, regression wants numbers"
        raise SpecError.at("target", f"{detail} (softmax_cross_entropy learns classes)")
    mean, std = scale(values[train])
    if not math.isfinite(mean) or not math.isfinite(std):
        raise SpecError.at("target", f"column {name!r} has numbers too large to standardise")
    return ValueTarget(name=name, mean=mean, std=std), task, loss


def _resolve(task: Task | None, loss: LossName | None, *, discrete: bool) -> tuple[Task, LossName]:
    """Decide what was left open: an explicit task, else the loss, else the target's type."""
    implied: Task = "regression" if loss == "mean_squared_error" else "classification"
    if task and loss and task != implied:
        raise SpecError.at("task", f"{task} does not go with the loss {loss}")
    if task is None:
        by_type: Task = "classification" if discrete else "regression"
        task = implied if loss else by_type
    return task, loss or default_loss(task)


def _fit_classes(values: Array, column: Mapping[str, Any], loss: LossName) -> ClassTarget:
    """Give a column's distinct values numbers, in ascending order."""
    keys = np.unique(values)
    kind, name = column["type"], column["name"]
    if len(keys) > MAX_CLASSES:
        detail = f"column {name!r} has {len(keys):,} different values, at most {MAX_CLASSES:,}"
        raise SpecError.at("target", f"{detail} classes")
    classes: list[Label]
    if kind == "categorical":
        classes = [column["categories"][code] for code in keys]
    else:
        classes = [int(key) if kind == "integer" else float(key) for key in keys]
    target = ClassTarget(name=name, classes=classes, keys=keys.tolist())
    return _check_classes(target, loss)


def _fit_array(
    values: Array, name: str, task: Task, loss: LossName
) -> ClassTarget | LabelTarget | ValueTarget:
    """Take an array as it is: it must hold what the loss compares with already."""
    if values.ndim > 2:
        raise SpecError.at("target", f"array {name!r} has shape {values.shape}, at most two axes")
    if not np.isfinite(values).all():
        raise SpecError.at("target", f"array {name!r} has values that are not finite")
    single = values.ndim == 1 or values.shape[1] == 1
    if task == "regression":
        return ValueTarget(name=name, width=None if values.ndim == 1 else values.shape[1])
    if loss == "binary_cross_entropy":
        _check_all((values == 0) | (values == 1), values, "must be 0 or 1 for binary_cross_entropy")
        if not single:
            return LabelTarget(name=name, width=values.shape[1])
        return ClassTarget(name=name, classes=[0, 1], keys=[0, 1])
    if not single:
        _check_all(values >= 0, values, "must be shares of the classes, one column per class")
        numbers = list(range(values.shape[1]))
        return ClassTarget(name=name, classes=[*numbers], keys=[*numbers], one_hot=True)
    numbered = (values == np.floor(values)) & (values >= 0) & (values < MAX_CLASSES)
    _check_all(numbered, values, f"must be class numbers from 0 to {MAX_CLASSES - 1:,}")
    numbers = list(range(int(values.max()) + 1))
    return _check_classes(ClassTarget(name=name, classes=[*numbers], keys=[*numbers]), loss)


def _check_all(good: Array, values: Array, wanted: str) -> None:
    """Raise SpecError at ``target``, showing the first bad value."""
    if not good.all():
        raise SpecError.at("target", f"{wanted}, got {shown(values[~good][0].item())}")


def _check_classes(target: ClassTarget, loss: LossName) -> ClassTarget:
    count = len(target.classes)
    if count < 2:
        only = ", ".join(map(shown, target.classes))
        raise SpecError.at("target", f"has one class only ({only}): there is nothing to tell apart")
    if loss == "binary_cross_entropy" and count != 2:
        detail = f"has {count:,} classes, binary_cross_entropy wants 2"
        raise SpecError.at("target", f"{detail} (softmax_cross_entropy takes any number)")
    return target


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z))


def check_finite(raw: Array) -> Array:
    """Return raw outputs in float64.  Raises: DataError, at the first row that is not finite."""
    finite = np.isfinite(raw).all(axis=tuple(range(1, raw.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError.at(f"[{row}]", "leads the network to an output that is not finite")
    return raw.astype(np.float64)
