"""The schedules of the learning rate.  A step of a schedule is one update of the weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chainrule.spec.base import Document
from chainrule.spec.training.optimizers import Rate, Share

__all__ = [
    "ConstantSpec",
    "CosineSpec",
    "EmaSpec",
    "ExponentialSpec",
    "OneCycleSpec",
    "PolynomialSpec",
    "ReduceOnPlateauSpec",
    "ScheduleSpec",
    "StepSpec",
]

Steps = Annotated[int, Field(ge=1, le=10**9)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Floor = Annotated[float, Field(ge=0.0, le=1e9)]
Period = Annotated[Steps | None, Field(description="Steps; by default the rest of the run.")]


class ScheduleBase(Document):
    """What every schedule has: a linear warmup before it."""

    warmup_steps: int = Field(0, ge=0, le=10**9, description="Steps of a linear rise before it.")


class ConstantSpec(ScheduleBase):
    """The optimizer's learning rate, unchanged."""

    kind: Literal["constant"] = "constant"


class StepSpec(ScheduleBase):
    """The rate is multiplied by ``decay_rate`` every ``decay_steps``."""

    kind: Literal["step"] = "step"
    decay_steps: Steps
    decay_rate: Fraction = 0.1


class ExponentialSpec(ScheduleBase):
    """The rate falls evenly by ``decay_rate`` over ``decay_steps``, and goes on so."""

    kind: Literal["exponential"] = "exponential"
    decay_steps: Period = None
    decay_rate: Fraction = 0.1


class CosineSpec(ScheduleBase):
    """Half a cosine down to ``alpha`` of the rate; with ``restarts`` again and again.

    Each restart lasts ``t_mul`` times as long and starts ``m_mul`` times as high as the one before.
    """

    kind: Literal["cosine"] = "cosine"
    decay_steps: Period = None
    alpha: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    restarts: bool = False
    t_mul: Annotated[float, Field(ge=1.0, le=1e3)] = 2.0
    m_mul: Fraction = 1.0


class PolynomialSpec(ScheduleBase):
    """The rate falls to ``end_learning_rate`` as a power of the steps that are left."""

    kind: Literal["polynomial"] = "polynomial"
    decay_steps: Period = None
    end_learning_rate: Floor = 0.0
    power: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0


class OneCycleSpec(ScheduleBase):
    """Up to the rate in the first part of the run, then far below where it began."""

    kind: Literal["one_cycle"] = "one_cycle"
    pct_start: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    div_factor: Annotated[float, Field(ge=1.0, le=1e9)] = 25.0
    final_div_factor: Annotated[float, Field(ge=1.0, le=1e12)] = 1e4
    anneal: Literal["cosine", "linear"] = "cosine"


class ReduceOnPlateauSpec(ScheduleBase):
    """The rate is multiplied by ``factor`` after ``patience`` epochs without a better loss."""

    kind: Literal["reduce_on_plateau"] = "reduce_on_plateau"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    patience: int = Field(10, ge=1, le=1_000_000)
    min_delta: Floor = 0.0001
    cooldown: int = Field(0, ge=0, le=1_000_000)
    min_learning_rate: Floor = 0.0


class EmaSpec(ScheduleBase):
    """The rate moves toward ``target`` as an exponential moving average."""

    kind: Literal["ema"] = "ema"
    target: Rate
    decay: Share = 0.99


ScheduleSpec = Annotated[
    ConstantSpec
    | StepSpec
    | ExponentialSpec
    | CosineSpec
    | PolynomialSpec
    | OneCycleSpec
    | ReduceOnPlateauSpec
    | EmaSpec,
    Field(discriminator="kind"),
]
