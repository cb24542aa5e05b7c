"""What training minimises: one frozen class per loss, and which losses go with which task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from chainrule.spec.base import Document, named

__all__ = [
    "TASK_LOSSES",
    "BinaryCrossEntropySpec",
    "ClassWeights",
    "CosineSimilaritySpec",
    "FocalSpec",
    "HingeSpec",
    "HuberSpec",
    "KullbackLeiblerSpec",
    "LossBase",
    "LossName",
    "LossSpec",
    "MeanAbsoluteErrorSpec",
    "MeanSquaredErrorSpec",
    "NamedLoss",
    "PoissonSpec",
    "SoftmaxCrossEntropySpec",
    "Task",
    "default_loss",
    "default_task",
]

LossName = Literal[
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "binary_cross_entropy",
    "softmax_cross_entropy",
    "hinge",
    "focal",
    "kullback_leibler",
    "poisson",
    "cosine_similarity",
]
Task = Literal["classification", "regression", "reconstruction", "forecast"]
Positive = Annotated[float, Field(gt=0.0, le=1e9)]
Smoothing = Annotated[float, Field(ge=0.0, lt=1.0)]

_NUMBERS: tuple[LossName, ...] = (
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "poisson",
    "cosine_similarity",
)
TASK_LOSSES: dict[Task, tuple[LossName, ...]] = {
    "classification": (
        "softmax_cross_entropy",
        "binary_cross_entropy",
        "hinge",
        "focal",
        "kullback_leibler",
    ),
    "regression": _NUMBERS,
    "reconstruction": (*_NUMBERS, "binary_cross_entropy"),
    "forecast": _NUMBERS,
}


class LossBase(Document):
    """What losses share.  Each takes raw outputs: the last layer needs no sigmoid or softmax."""

    weight: Positive = Field(1.0, description="Of this loss in the total, if there are several.")

    @model_serializer(mode="wrap")
    def _leave_out_no_weight(self, render: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out a weight of 1: to a single loss, the rule, it would say nothing."""
        document: dict[str, Any] = render(self)
        if self.weight == 1.0:
            document.pop("weight", None)
        return document


class MeanSquaredErrorSpec(LossBase):
    """The mean of the squared differences."""

    kind: Literal["mean_squared_error"] = "mean_squared_error"


class MeanAbsoluteErrorSpec(LossBase):
    """The mean of the differences' sizes."""

    kind: Literal["mean_absolute_error"] = "mean_absolute_error"


class HuberSpec(LossBase):
    """Half the squared difference up to ``delta``, beyond it growing linearly."""

    kind: Literal["huber"] = "huber"
    delta: Positive = 1.0


class BinaryCrossEntropySpec(LossBase):
    """Cross-entropy of independent logits with probabilities."""

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    label_smoothing: Smoothing = 0.0


class SoftmaxCrossEntropySpec(LossBase):
    """Cross-entropy of logits over the last axis with a class, or a share of each."""

    kind: Literal["softmax_cross_entropy"] = "softmax_cross_entropy"
    label_smoothing: Smoothing = 0.0


class HingeSpec(LossBase):
    """How much the right class's score falls short of a lead of 1 over every other."""

    kind: Literal["hinge"] = "hinge"


class FocalSpec(LossBase):
    """Cross-entropy times (1 - p)^gamma: what is classified well already counts little.

    ``alpha`` scales the form for several units, as in Keras; the form for one unit has none.
    """

    kind: Literal["focal"] = "focal"
    gamma: Annotated[float, Field(ge=0.0, le=100.0)] = 2.0
    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25


class KullbackLeiblerSpec(LossBase):
    """The divergence of the softmax of the outputs from a distribution."""

    kind: Literal["kullback_leibler"] = "kullback_leibler"


class PoissonSpec(LossBase):
    """The negative log-likelihood of counts; outputs are the logarithms of the rates."""

    kind: Literal["poisson"] = "poisson"


class CosineSimilaritySpec(LossBase):
    """Minus the cosine of the angle between output and target."""

    kind: Literal["cosine_similarity"] = "cosine_similarity"


LossSpec = Annotated[
    MeanSquaredErrorSpec
    | MeanAbsoluteErrorSpec
    | HuberSpec
    | BinaryCrossEntropySpec
    | SoftmaxCrossEntropySpec
    | HingeSpec
    | FocalSpec
    | KullbackLeiblerSpec
    | PoissonSpec
    | CosineSimilaritySpec,
    Field(discriminator="kind"),
]


def _check_costs(
    value: str | list[float] | dict[str, float] | list[list[float]],
) -> str | list[float] | dict[str, float] | list[list[float]]:
    """See to it that a cost matrix is one: square, and right answers are free."""
    if isinstance(value, str):
        return value
    rows = [row for row in value if isinstance(row, list)]
    if any(len(row) != len(value) for row in rows):
        raise ValueError("a cost matrix must be square: cost[true class][predicted class]")
    if any(row[index] for index, row in enumerate(rows)):
        raise ValueError(
            "a cost matrix must have zeros on its diagonal: right answers cost nothing"
        )
    return value


NamedLoss = Annotated[LossSpec, BeforeValidator(named)]
Cost = Annotated[float, Field(ge=0.0, le=1e9)]
ClassWeights = Annotated[
    Literal["balanced"] | list[Cost] | dict[str, Cost] | list[list[Cost]],
    AfterValidator(_check_costs),
]


def default_loss(task: Task) -> LossName:
    """Return the loss of a task whose training names none."""
    return "softmax_cross_entropy" if task == "classification" else "mean_squared_error"


def default_task(loss: LossName) -> Task:
    """Return the task that a loss implies."""
    return "regression" if loss in TASK_LOSSES["regression"] else "classification"
