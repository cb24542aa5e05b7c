"""How a network is trained: loss, optimizer, schedule, epochs, batches, seed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from chainrule.spec.base import Document, named

__all__ = [
    "AdamSpec",
    "ConstantSpec",
    "LossName",
    "LossSpec",
    "MomentumSpec",
    "NesterovSpec",
    "OptimizerSpec",
    "ScheduleSpec",
    "SgdSpec",
    "Task",
    "TrainingSpec",
    "default_loss",
]

LossName = Literal["mean_squared_error", "binary_cross_entropy", "softmax_cross_entropy"]
Task = Literal["classification", "regression"]
Rate = Annotated[float, Field(gt=0.0, le=1e9)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class LossSpec(Document):
    """The loss.  Cross-entropies take logits: the last layer needs no sigmoid or softmax."""

    kind: LossName


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

    loss: Annotated[LossSpec | None, BeforeValidator(named)] = Field(
        None, description="By default the task's: softmax_cross_entropy or mean_squared_error."
    )
    optimizer: Annotated[OptimizerSpec, BeforeValidator(named)] = Field(
        AdamSpec(), description="An object, or a kind alone for its defaults."
    )
    schedule: Annotated[ScheduleSpec, BeforeValidator(named)] = Field(
        ConstantSpec(), description="How the learning rate changes from step to step."
    )
    epochs: int = Field(10, ge=1, le=1_000_000, description="Passes over the training rows.")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="Rows of one step.")
    shuffle: bool = Field(True, description="Whether each epoch takes the rows in another order.")
    seed: int = Field(0, ge=0, lt=2**53, description="Of the split, weights, order and dropout.")
    precision: Literal["float32", "float64"] = Field("float32", description="Of all numbers.")
    gradient_check: Literal["enforce", "report", "off"] = "report"  # see chainrule.certificate
    max_seconds: float | None = Field(
        None, gt=0.0, le=30 * 86400.0, description="An attempt that takes longer fails the job."
    )


def default_loss(task: Task) -> LossName:
    """Return the loss of a task whose training names none."""
    return "softmax_cross_entropy" if task == "classification" else "mean_squared_error"
