"""Optimizers: one pass over the flat vectors a step.  Keras's names, PyTorch's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from chainrule import kernels
from chainrule.kernels import Array

if TYPE_CHECKING:
    from chainrule.spec import OptimizerSpec

__all__ = [
    "OPTIMIZERS",
    "Adam",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "Sgd",
    "Slots",
    "optimizer_of",
]

Slots = Mapping[str, Array]


class Optimizer(Protocol):
    """A rule that moves the parameters; ``slots`` names the flat vectors that it keeps."""

    slots: ClassVar[tuple[str, ...]]

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        """Move every parameter once; ``step`` counts from 1."""
        ...


@dataclass(frozen=True)
class Sgd:
    """Gradient descent."""

    slots: ClassVar[tuple[str, ...]] = ()

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.sgd(parameters, gradients, learning_rate)


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum.  Source: Polyak (1964)."""

    momentum: float = 0.9
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.momentum(parameters, gradients, slots["velocity"], learning_rate, self.momentum)


@dataclass(frozen=True)
class Nesterov:
    """Gradient descent with Nesterov's momentum.  Source: Sutskever et al. (2013), as PyTorch."""

    momentum: float = 0.9
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.nesterov(parameters, gradients, slots["velocity"], learning_rate, self.momentum)


@dataclass(frozen=True)
class Adam:
    """Adam.  Source: Kingma & Ba (2015), algorithm 1."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots: ClassVar[tuple[str, ...]] = ("m", "v")

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.adam(
            parameters,
            gradients,
            slots["m"],
            slots["v"],
            learning_rate=learning_rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            step=step,
        )


OPTIMIZERS: dict[str, type[Any]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
}


def optimizer_of(spec: OptimizerSpec) -> Optimizer:
    """Make the optimizer of a spec; its learning rate belongs to the schedule."""
    settings = spec.model_dump(exclude={"kind", "learning_rate"})
    made: Optimizer = OPTIMIZERS[spec.kind](**settings)
    return made
