"""What the network learns (classes, labels, values, its inputs) and the way back to the user."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, SpecError
from chainrule.recipe.values import listed, shown
from chainrule.spec.base import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.kernels import Array
    from chainrule.spec.training.losses import LossName, Task

__all__ = [
    "ClassTarget",
    "InputTarget",
    "Label",
    "LabelTarget",
    "Learnt",
    "Target",
    "ValueTarget",
    "check_finite",
    "present",
]

Label = int | float | str
Shape = tuple[int, ...]


class ClassTarget(Document):
    """One class per row, or per step of it; ``classes`` are all values in the dataset, ascending.

    The list is the meaning of the outputs, not a statistic of the training part: a class that only
    occurs in the rows kept aside has an output too, and scoring it there is well defined.
    ``keys`` are the classes as the dataset's tensor holds them; a ``one_hot`` tensor holds a share
    per class instead. ``steps`` are the axes between the rows and the classes. ``absent`` are those
    of an array's class numbers, 0 to the largest, that no row has.
    """

    kind: Literal["classes"] = "classes"
    name: str
    classes: list[Label]
    keys: list[int | float]
    one_hot: bool = False
    steps: list[int] = Field([])
    absent: list[int] = Field([], exclude_if=operator.not_)

    def shape(self, loss: LossName) -> Shape:
        return (*self.steps, 1 if loss == "binary_cross_entropy" else len(self.classes))

    def fits(self, shape: Shape, loss: LossName) -> bool:
        """Tell whether outputs of a shape can be compared; two classes may share one unit."""
        one_unit = loss in ("hinge", "focal") and len(self.classes) == 2 and not self.one_hot
        return shape == self.shape(loss) or (one_unit and shape == (*self.steps, 1))

    def encode(self, values: Array, loss: LossName, dtype: str) -> Array:
        """Return what the loss compares with.

        Shapes: (rows, *steps) class numbers, (rows, *steps, classes) if one-hot, (rows, 1) if the
        loss is binary_cross_entropy.
        """
        if self.one_hot:
            return values.astype(dtype)
        given = values.reshape(len(values), *self.steps)
        numbers = np.searchsorted(np.asarray(self.keys), given)
        if loss == "binary_cross_entropy":
            return numbers[..., None].astype(dtype)
        return numbers.astype(np.int64)

    def weights(self, given: Mapping[str, float]) -> list[float]:
        """Return weights by label as a list in the order of the classes; left out ones are 1.

        Raises: SpecError at ``class_weights``, if a label is none of the classes.
        """
        numbers = {_label(one): number for number, one in enumerate(self.classes)}
        weights = [1.0] * len(numbers)
        for label, weight in given.items():
            if label not in numbers:
                detail = f"there is no class {shown(label)}; the classes are {listed([*numbers])}"
                raise SpecError.at("class_weights", detail)
            weights[numbers[label]] = weight
        return weights

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return the likeliest classes, and all probabilities where the loss has any."""
        logits = np.concatenate([-raw / 2, raw / 2], axis=-1) if raw.shape[-1] == 1 else raw
        best = np.array(self.classes, dtype=object)[logits.argmax(axis=-1)]
        answer: dict[str, Any] = {"predictions": best.tolist(), "classes": self.classes}
        if loss == "hinge":
            return answer
        if raw.shape[-1] == 1:
            probabilities = np.concatenate([_sigmoid(-raw), _sigmoid(raw)], axis=-1)
        else:
            powers = np.exp(raw - raw.max(axis=-1, keepdims=True))
            probabilities = powers / powers.sum(axis=-1, keepdims=True)
        return {**answer, "probabilities": probabilities.tolist()}


class LabelTarget(Document):
    """Several independent yes-or-no labels per row, as an array of zeros and ones."""

    kind: Literal["labels"] = "labels"
    name: str
    sample_shape: list[int] = Field(min_length=1)

    def shape(self, loss: LossName) -> Shape:
        return tuple(self.sample_shape)

    def fits(self, shape: Shape, loss: LossName) -> bool:
        """Tell whether outputs of a shape can be compared."""
        return shape == self.shape(loss)

    def encode(self, values: Array, loss: LossName, dtype: str) -> Array:
        """Return what the loss compares with.  Shapes: (rows, ..., labels)."""
        return values.astype(dtype)

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return each label as 0 or 1, and its probability."""
        return {
            "predictions": (raw > 0).astype(int).tolist(),
            "probabilities": _sigmoid(raw).tolist(),
        }


class ValueTarget(Document):
    """Numbers; a table's column is standardised over the training part, an array is used as it is.

    ``sample_shape`` is empty where a row has a bare number. ``few`` counts the distinct values of a
    column that may as well be classes: whole numbers, few, and the request says neither.
    """

    kind: Literal["values"] = "values"
    name: str
    sample_shape: list[int] = Field([])
    mean: float = 0.0
    std: float = Field(1.0, gt=0.0)
    few: int | None = Field(None, exclude_if=operator.not_)

    def shape(self, loss: LossName) -> Shape:
        return tuple(self.sample_shape) or (1,)

    def fits(self, shape: Shape, loss: LossName) -> bool:
        """Tell whether outputs of a shape can be compared; a bare number may have its axis."""
        return shape in (self.shape(loss), (*self.sample_shape, 1))

    def encode(self, values: Array, loss: LossName, dtype: str) -> Array:
        """Return what the loss compares with.  Shapes: (rows, ..., values)."""
        scaled = (values.astype(np.float64) - self.mean) / self.std
        return scaled.reshape(len(values), *self.shape(loss)).astype(dtype)

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return the values in the target's own units."""
        values = check_finite(_linked(raw, loss) * self.std + self.mean)
        return {"predictions": values.reshape(len(raw), *self.sample_shape).tolist()}


class InputTarget(Document):
    """The inputs themselves, as the network gets them."""

    kind: Literal["inputs"] = "inputs"
    sample_shape: list[int]

    def shape(self, loss: LossName) -> Shape:
        return tuple(self.sample_shape)

    def fits(self, shape: Shape, loss: LossName) -> bool:
        """Tell whether outputs of a shape can be compared."""
        return shape == self.shape(loss)

    def invert(self, raw: Array, loss: LossName) -> dict[str, Any]:
        """Return the inputs as the network makes them again."""
        values = _sigmoid(raw) if loss == "binary_cross_entropy" else _linked(raw, loss)
        return {"predictions": check_finite(values).tolist()}


Target = Annotated[
    ClassTarget | LabelTarget | ValueTarget | InputTarget, Field(discriminator="kind")
]


class Learnt(NamedTuple):
    """What one output learns, and how."""

    target: ClassTarget | LabelTarget | ValueTarget | InputTarget
    task: Task
    loss: LossName

    @property
    def shape(self) -> Shape:
        """What the network gives for a sample."""
        return self.target.shape(self.loss)

    def fits(self, shape: Shape) -> bool:
        """Tell whether outputs of a shape can be compared with the target."""
        return self.target.fits(shape, self.loss)

    @property
    def scale(self) -> tuple[Array, Array] | None:
        """Mean and standard deviation of a standardised target.  Shapes: (1,) each."""
        target = self.target
        if not isinstance(target, ValueTarget) or (target.mean, target.std) == (0.0, 1.0):
            return None
        return np.array([target.mean]), np.array([target.std])

    def invert(self, raw: Array) -> dict[str, Any]:
        """Return predictions.  Raises: DataError at ``[row]``, if an output is not finite."""
        return self.target.invert(check_finite(raw), self.loss)


def present(tensors: Mapping[str, Array], schema_kind: str, name: str) -> Array | bool:
    """Tell of each row whether it has a target: a mask, or True for all of an array's."""
    if schema_kind == "arrays":
        return True
    values = tensors[name]
    return ~np.isnan(values) if values.dtype.kind == "f" else values >= 0


def check_finite(raw: Array) -> Array:
    """Return raw outputs in float64.  Raises: DataError, at the first row that is not finite."""
    finite = np.isfinite(raw).all(axis=tuple(range(1, raw.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError.at(f"[{row}]", "leads the network to an output that is not finite")
    return raw.astype(np.float64)


def _linked(raw: Array, loss: LossName) -> Array:
    """Return the values that outputs stand for: rates, where these are their logarithms."""
    if loss != "poisson":
        return raw
    with np.errstate(over="ignore"):  # what leaves the range ends as inf, and is refused
        rates: Array = np.exp(raw)
    return rates


def _label(one: float | str) -> str:
    """Return a class as a document's key: 1.0 is ``1`` too."""
    return f"{one:g}" if isinstance(one, float) and one.is_integer() else str(one)


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z))
