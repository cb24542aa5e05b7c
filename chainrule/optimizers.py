"""Optimizers: one pass over the flat vectors a step.  Keras's names, PyTorch's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from chainrule import kernels
from chainrule.kernels import Array

if TYPE_CHECKING:
    from chainrule.spec import OptimizerSpec

__all__ = [
    "OPTIMIZERS",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Momentum",
    "Nadam",
    "Nesterov",
    "Optimizer",
    "Rmsprop",
    "Sgd",
    "Slots",
    "optimizer_of",
]

Slots = Mapping[str, Array]


class Optimizer(Protocol):
    """A rule that moves the parameters.

    ``slots`` names the flat vectors that it keeps, ``initial_slot`` is what they start from.
    """

    @property
    def slots(self) -> tuple[str, ...]: ...

    @property
    def initial_slot(self) -> float: ...

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        """Move every parameter once; ``step`` counts from 1."""
        ...


@dataclass(frozen=True)
class Sgd:
    """Gradient descent."""

    slots: ClassVar[tuple[str, ...]] = ()
    initial_slot: ClassVar[float] = 0.0

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.sgd(parameters, gradients, learning_rate)


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum.  Source: Polyak (1964)."""

    momentum: float = 0.9
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    initial_slot: ClassVar[float] = 0.0

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.momentum(parameters, gradients, slots["velocity"], learning_rate, self.momentum)


@dataclass(frozen=True)
class Nesterov:
    """Gradient descent with Nesterov's momentum.  Source: Sutskever et al. (2013), as PyTorch."""

    momentum: float = 0.9
    slots: ClassVar[tuple[str, ...]] = ("velocity",)
    initial_slot: ClassVar[float] = 0.0

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.nesterov(parameters, gradients, slots["velocity"], learning_rate, self.momentum)


@dataclass(frozen=True)
class Adagrad:
    """Adagrad.  Source: Duchi et al. (2011)."""

    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    slots: ClassVar[tuple[str, ...]] = ("squares",)

    @property
    def initial_slot(self) -> float:
        return self.initial_accumulator_value

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.adagrad(parameters, gradients, slots["squares"], learning_rate, self.epsilon)


@dataclass(frozen=True)
class Rmsprop:
    """RMSprop.  Source: Hinton (2012), lecture 6e; centered: Graves (2013), as PyTorch."""

    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False
    initial_slot: ClassVar[float] = 0.0

    @property
    def slots(self) -> tuple[str, ...]:
        return "squares", *["mean"] * self.centered, *["velocity"] * (self.momentum > 0)

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.rmsprop(
            parameters,
            gradients,
            slots["squares"],
            slots.get("mean"),
            slots.get("velocity"),
            learning_rate=learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
        )


@dataclass(frozen=True)
class Adam:
    """Adam.  Source: Kingma & Ba (2015), algorithm 1."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0
    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    initial_slot: ClassVar[float] = 0.0

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
            weight_decay=self.weight_decay,
        )


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay.  Source: Loshchilov & Hutter (2019), as PyTorch."""

    weight_decay: float = 0.004


class _Momenta:
    """Nadam's momenta: mu of a step, and the product of all up to it, which only grows by steps.

    Both are functions of the step alone: the product is remembered for speed, and made anew, factor
    by factor in the same order, after a resume.
    """

    def __init__(self) -> None:
        self._step, self._product = 0, 1.0

    def at(self, beta: float, step: int) -> tuple[float, float]:
        """Return mu and the product of step number ``step``."""
        if step < self._step:
            self._step, self._product = 0, 1.0
        while self._step < step and self._product:  # once too small for a float it stays 0
            self._step += 1
            self._product *= self.mu(beta, self._step)
        self._step = step
        return self.mu(beta, step), self._product

    @staticmethod
    def mu(beta: float, step: int) -> float:
        """Return the momentum of a step: from half of beta, slowly, to beta."""
        decay: float = 0.96 ** (step * 0.004)
        return beta * (1.0 - 0.5 * decay)


@dataclass(frozen=True)
class Nadam:
    """Adam with Nesterov's momentum.  Source: Dozat (2016), as PyTorch (momentum_decay 0.004)."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots: ClassVar[tuple[str, ...]] = ("m", "v")
    initial_slot: ClassVar[float] = 0.0
    _momenta: _Momenta = field(default_factory=_Momenta, init=False, repr=False, compare=False)

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        mu, product = self._momenta.at(self.beta_1, step)
        ahead = self._momenta.mu(self.beta_1, step + 1)
        kernels.nadam(
            parameters,
            gradients,
            slots["m"],
            slots["v"],
            gradient_rate=learning_rate * (1.0 - mu) / (1.0 - product),
            momentum_rate=learning_rate * ahead / (1.0 - product * ahead),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            step=step,
        )


@dataclass(frozen=True)
class Lion:
    """Evolved sign momentum.  Source: Chen et al. (2023), algorithm 2."""

    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0
    slots: ClassVar[tuple[str, ...]] = ("m",)
    initial_slot: ClassVar[float] = 0.0

    def step(
        self, parameters: Array, gradients: Array, slots: Slots, learning_rate: float, step: int
    ) -> None:
        kernels.lion(
            parameters,
            gradients,
            slots["m"],
            learning_rate=learning_rate,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            weight_decay=self.weight_decay,
        )


OPTIMIZERS: dict[str, type[Any]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": Rmsprop,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "lion": Lion,
}


def optimizer_of(spec: OptimizerSpec) -> Optimizer:
    """Make the optimizer of a spec; its learning rate belongs to the schedule."""
    settings = spec.model_dump(exclude={"kind", "learning_rate"})
    made: Optimizer = OPTIMIZERS[spec.kind](**settings)
    return made
