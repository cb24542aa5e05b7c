"""The optimizers that a training may name, with Keras's parameter names and defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chainrule.spec.base import Document

__all__ = [
    "AdagradSpec",
    "AdamSpec",
    "AdamWSpec",
    "LionSpec",
    "MomentumSpec",
    "NadamSpec",
    "NesterovSpec",
    "OptimizerSpec",
    "Rate",
    "RmspropSpec",
    "SgdSpec",
    "Share",
]

Rate = Annotated[float, Field(gt=0.0, le=1e9)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]
Decay = Annotated[float, Field(ge=0.0, le=1e3)]


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


class AdagradSpec(Document):
    """Adagrad: each weight's rate falls with the squares of its gradients so far."""

    kind: Literal["adagrad"] = "adagrad"
    learning_rate: Rate = 0.001
    initial_accumulator_value: Annotated[float, Field(ge=0.0, le=1e9)] = 0.1
    epsilon: Epsilon = 1e-7


class RmspropSpec(Document):
    """RMSprop; ``centered`` divides by the variance of the gradient instead of its square."""

    kind: Literal["rmsprop"] = "rmsprop"
    learning_rate: Rate = 0.001
    rho: Share = 0.9
    momentum: Share = 0.0
    epsilon: Epsilon = 1e-7
    centered: bool = False


class AdamSpec(Document):
    """Adam."""

    kind: Literal["adam"] = "adam"
    learning_rate: Rate = 0.001
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Epsilon = 1e-7


class AdamWSpec(Document):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: Rate = 0.001
    weight_decay: Decay = 0.004
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Epsilon = 1e-7


class NadamSpec(Document):
    """Adam with Nesterov's momentum."""

    kind: Literal["nadam"] = "nadam"
    learning_rate: Rate = 0.001
    beta_1: Share = 0.9
    beta_2: Share = 0.999
    epsilon: Epsilon = 1e-7


class LionSpec(Document):
    """Lion: steps of one size, by the sign of a momentum; weight decay is decoupled."""

    kind: Literal["lion"] = "lion"
    learning_rate: Rate = 0.001
    weight_decay: Decay = 0.0
    beta_1: Share = 0.9
    beta_2: Share = 0.99


OptimizerSpec = Annotated[
    SgdSpec
    | MomentumSpec
    | NesterovSpec
    | AdagradSpec
    | RmspropSpec
    | AdamSpec
    | AdamWSpec
    | NadamSpec
    | LionSpec,
    Field(discriminator="kind"),
]
