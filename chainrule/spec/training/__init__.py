"""How a network is trained: loss, optimizer, schedule, epochs, batches, seed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from chainrule.spec.base import Document, named
from chainrule.spec.training.losses import ClassWeights, NamedLoss
from chainrule.spec.training.optimizers import AdamSpec, OptimizerSpec, Share
from chainrule.spec.training.schedules import ConstantSpec, ReduceOnPlateauSpec, ScheduleSpec

__all__ = [
    "ClipSpec",
    "EarlyStoppingSpec",
    "OptimizerSpec",
    "ReduceOnPlateauSpec",
    "ScheduleSpec",
    "TrainingSpec",
    "WarmStartSpec",
]

Bound = Annotated[float, Field(gt=0.0, le=1e30)]
Id = Annotated[str, Field(min_length=1, max_length=100)]
Penalty = Annotated[float, Field(ge=0.0, le=1e6)]


class ClipSpec(Document):
    """How far gradients may go: exactly one of the three bounds."""

    value: Bound | None = Field(None, description="Of each number of the gradient.")
    norm: Bound | None = Field(None, description="Of each tensor's gradient.")
    global_norm: Bound | None = Field(None, description="Of the whole gradient.")

    @model_validator(mode="after")
    def _is_one(self) -> ClipSpec:
        if [self.value, self.norm, self.global_norm].count(None) != 2:
            raise ValueError("must have exactly one of value, norm and global_norm")
        return self


class EarlyStoppingSpec(Document):
    """When to end before the last epoch, by the validation loss, or without one the training's."""

    patience: int = Field(10, ge=0, le=1_000_000, description="Epochs without a better loss.")
    min_delta: float = Field(0.0, ge=0.0, le=1e9, description="What counts as better.")
    restore_best: bool = Field(True, description="Whether the model is the best epoch's.")
    start_from_epoch: int = Field(0, ge=0, le=1_000_000, description="Epochs that do not count.")


class WarmStartSpec(Document):
    """Whose weights to begin with: those of a model, or of a job's checkpoint."""

    model_id: Id | None = Field(None, description="A model, with its final weights.")
    job_id: Id | None = Field(None, description="A job, with the weights of a checkpoint.")
    step: int | None = Field(None, ge=0, description="Of the checkpoint; by default the newest.")

    @model_validator(mode="after")
    def _is_one(self) -> WarmStartSpec:
        if (self.model_id is None) == (self.job_id is None):
            raise ValueError("must have exactly one of model_id and job_id")
        if self.step is not None and self.job_id is None:
            raise ValueError("step is that of a job's checkpoint: a model has one set of weights")
        return self


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
        description="What a row of each class counts, as a list or by label, or balanced: all "
        "classes alike; or a cost matrix, cost[true class][predicted class].",
    )
    optimizer: Annotated[OptimizerSpec, BeforeValidator(named)] = Field(
        AdamSpec(), description="An object, or a kind alone for its defaults."
    )
    schedule: Annotated[ScheduleSpec, BeforeValidator(named)] = Field(
        ConstantSpec(), description="How the learning rate changes from step to step."
    )
    epochs: int = Field(10, ge=1, le=1_000_000, description="Passes over the training rows.")
    batch_size: int = Field(32, ge=1, le=1_000_000, description="Rows of one step.")
    shards: int = Field(
        1, ge=1, le=1024, description="Parts of a batch that are learnt apart, then summed."
    )
    threads: int = Field(
        1, ge=1, le=1024, description="That learn the shards; how many changes no result."
    )
    bptt_steps: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Steps of a window of truncated backpropagation; by default whole sequences.",
    )
    gradient_accumulation_steps: int = Field(
        1, ge=1, le=1_000_000, description="Batches whose mean gradient makes one update."
    )
    clip: ClipSpec | None = Field(None, description="A bound on the gradients of an update.")
    l1: Penalty = Field(0.0, description="Of l1 * sum(|w|), added to the gradient of kernels.")
    l2: Penalty = Field(0.0, description="Of l2 * sum(w ** 2), added to the gradient of kernels.")
    max_norm: Bound | None = Field(None, description="Of the weights into each unit of a kernel.")
    ema_momentum: Share | None = Field(
        None, description="Of an average of the weights, which is evaluated and becomes the model."
    )
    early_stopping: EarlyStoppingSpec | None = Field(None, description="By default none.")
    shuffle: bool = Field(True, description="Whether each epoch takes the rows in another order.")
    seed: int = Field(0, ge=0, lt=2**53, description="Of the split, weights, order and dropout.")
    precision: Literal["float32", "float64"] = Field("float32", description="Of all numbers.")
    gradient_check: Literal["enforce", "report", "off"] = Field(
        "report", description="Whether a wrong gradient fails the job, or is reported only."
    )
    evaluation: Literal["full", "off"] = Field(
        "full", description="Whether the model is measured beside null models at the end."
    )
    warm_start: WarmStartSpec | None = Field(
        None, description="Whose weights to begin with; by default those of the seed."
    )
    max_seconds: float | None = Field(
        None, gt=0.0, le=30 * 86400.0, description="An attempt that takes longer fails the job."
    )
