"""How a network is trained: loss, optimizer, schedule, epochs, batches, seed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from chainrule.spec.base import Document
from chainrule.spec.losses import ClassWeights, NamedLoss

__all__ = [
    "AdamSpec",
    "ConstantSpec",
    "MomentumSpec",
    "NesterovSpec",
    "OptimizerSpec",
    "ScheduleSpec",
    "SgdSpec",
    "TrainingSpec",
]

Rate = Annotated[float, Field(gt=0.0, le=1e9)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


def _named(value: object) -> object:
    """Take a name for an object of that kind."""
    return {"kind": value} if isinstance(value, str) else value


class SgdSpec(Document):
    """Plain gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: Rate = 0.01


class MomentumSpec(Document):
    """Gradient descent with Polyak's momentum."""

    kind: Literal["momentum"] = "momentum"
    learning_rate: Rate = 0.01
    momentum: Share = 0.9


class NesterovSpec(Document):
    """Gradient descent with Nesterov's momentum."""

    kind: Literal["nesterov"] = "nesterov"
    learning_rate: Rate = 0.01
    momentum: Share = 0.9


class AdamSpec(Document):
    """Adam."""

    kind: Literal["adam"] = "adam"
    learning_rate: Rate = 0.001
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-7


OptimizerSpec = Annotated[
    SgdSpec | MomentumSpec | NesterovSpec | AdamSpec, Field(discriminator="kind")
]


class ConstantSpec(Document):
    """The optimizer's learning rate, unchanged."""

    kind: Literal["constant"] = "constant"


ScheduleSpec = ConstantSpec


class TrainingSpec(Document):
    """All that shapes the weights besides the data and the architecture."""

    loss: NamedLoss | None = Field(
        None, description="By default the task's: softmax_cross_entropy or mean_squared_error."
    )
    losses: dict[str, NamedLoss] | None = Field(
        None, description="Of a network with several outputs: each output's loss, by its name."
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="What a row of each class counts, as a list or by label; or a cost matrix, "
        "cost[true class][predicted class].",
    )
    optimizer: Annotated[OptimizerSpec, BeforeValidator(_named)] = Field(
        AdamSpec(), description="An object, or a kind alone for its defaults."
    )
    schedule: Annotated[ScheduleSpec, BeforeValidator(_named)] = Field(
        ConstantSpec(), description="How the learning rate changes from step to step."
    )
    epochs: int = Field(10, ge=1, le=1_000_000, description="Passes over the training rows.")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="Rows of one step.")
    shuffle: bool = Field(True, description="Whether each epoch takes the rows in another order.")
    seed: int = Field(0, ge=0, lt=2**53, description="Of the split, weights, order and dropout.")
    precision: Literal["float32", "float64"] = Field("float32", description="Of all numbers.")
    max_seconds: float | None = Field(
        None, gt=0.0, le=30 * 86400.0, description="An attempt that takes longer fails the job."
    )
