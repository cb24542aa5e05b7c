"""The outputs of a network as answers beside the truth: classes, labels, or numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.evaluation.classes import ClassScores
from chainrule.evaluation.labels import LabelScores
from chainrule.evaluation.linear import labels_of, softmax_of
from chainrule.evaluation.numbers import NumberScores
from chainrule.recipe.targets import ClassTarget, InputTarget, LabelTarget

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.recipe.targets import Label, Learnt

__all__ = [
    "ClassOutput",
    "LabelOutput",
    "NumberOutput",
    "Output",
    "Scores",
    "described",
    "output_of",
]

Scores = ClassScores | LabelScores | NumberScores
IMBALANCED = 2 / 3  # share of the largest class from which a constant answer looks good


class Output(Protocol):
    """What one output learns.

    An answer is what any model says in its place: logarithms of the classes' probabilities, the
    labels' logits, or numbers in the target's units. Its last axis is kept, those between the rows
    and it are positions.
    """

    @property
    def kind(self) -> str:
        """What is answered: classes, labels or numbers."""
        ...

    def answers(self, raw: Array) -> Array:
        """Return what raw outputs stand for.  Shapes: (rows, ..., n) -> (rows, ..., answers)."""
        ...

    def truth(self, target: Array, positions: tuple[int, ...]) -> Array:
        """Return what is true, of an encoded target.  ``positions``: the answer's shape less n."""
        ...

    def score(self, answers: Array, truth: Array, rows: Array | None, *, null: bool) -> Scores:
        """Lay answers beside the truth, both with one axis of positions."""
        ...

    def metric(self, truth: Array) -> str:
        """Return the metric to judge by, given the truth of the training rows."""
        ...


@dataclass(frozen=True)
class ClassOutput:
    """One class of several."""

    words: list[Label]
    one_hot: bool
    probable: bool
    kind: str = "classes"

    def answers(self, raw: Array) -> Array:
        scores = raw.astype(np.float64)
        if raw.shape[-1] == 1:
            scores = np.concatenate([-scores / 2, scores / 2], axis=-1)
        return softmax_of(scores)[0] if self.probable else scores

    def truth(self, target: Array, positions: tuple[int, ...]) -> Array:
        numbers = target.argmax(axis=-1) if self.one_hot else target
        return numbers.reshape(positions).astype(np.int64)

    def score(self, answers: Array, truth: Array, rows: Array | None, *, null: bool) -> ClassScores:
        return ClassScores(answers, truth, self.probable or null, rows)

    def metric(self, truth: Array) -> str:
        largest = np.bincount(truth.ravel()).max() / truth.size
        return "balanced_accuracy" if largest >= IMBALANCED else "accuracy"


@dataclass(frozen=True)
class LabelOutput:
    """Independent labels."""

    kind: str = "labels"

    def answers(self, raw: Array) -> Array:
        return raw.astype(np.float64)

    def truth(self, target: Array, positions: tuple[int, ...]) -> Array:
        return target.reshape(*positions, target.shape[-1])

    def score(self, answers: Array, truth: Array, rows: Array | None, *, null: bool) -> LabelScores:
        return LabelScores(answers, truth, rows)

    def metric(self, truth: Array) -> str:
        return "accuracy"


@dataclass(frozen=True)
class NumberOutput:
    """Numbers: ``link`` leads from raw outputs to what the loss compares, mean and std to units."""

    shape: tuple[int, ...]
    link: str = ""
    mean: float = 0.0
    std: float = 1.0
    absolute: bool = False
    kind: str = "numbers"

    def answers(self, raw: Array) -> Array:
        values = raw.astype(np.float64)
        if self.link == "exp":
            values = np.exp(values)
        elif self.link == "sigmoid":
            values = labels_of(values)[1]
        return values * self.std + self.mean

    def truth(self, target: Array, positions: tuple[int, ...]) -> Array:
        width = target.size // math.prod(positions)
        return target.reshape(*positions, width) * self.std + self.mean

    def score(
        self, answers: Array, truth: Array, rows: Array | None, *, null: bool
    ) -> NumberScores:
        return NumberScores(answers, truth, rows)

    def metric(self, truth: Array) -> str:
        return "mae" if self.absolute else "rmse"


def output_of(learnt: Learnt) -> Output:
    """Return what an output of a recipe learns."""
    target, loss = learnt.target, learnt.loss
    if isinstance(target, ClassTarget):
        return ClassOutput(target.classes, target.one_hot, probable=loss != "hinge")
    if isinstance(target, LabelTarget):
        return LabelOutput()
    link = {"poisson": "exp", "binary_cross_entropy": "sigmoid"}.get(loss, "")
    absolute = loss in ("mean_absolute_error", "huber")
    if isinstance(target, InputTarget):
        return NumberOutput(learnt.shape, link, absolute=absolute)
    return NumberOutput(learnt.shape, link, target.mean, target.std, absolute=absolute)


def described(output: Output, learnt: Learnt) -> dict[str, Any]:
    """Return what a report says of an output before any number."""
    name = None if isinstance(learnt.target, InputTarget) else learnt.target.name
    return {"kind": output.kind, "target": name, "task": learnt.task, "loss": learnt.loss}
