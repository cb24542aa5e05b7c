"""Layers that join several inputs: add, multiply, concat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import AddSpec, ConcatSpec, MultiplySpec
    from chainrule.tape import Array, Tape

    Backwards = Callable[[Array], list[Array]]

__all__ = ["Add", "Concat", "Multiply"]


@dataclass(frozen=True)
class Add:
    """The sum of inputs of equal shapes.  Shapes: xs alike -> y alike."""

    @classmethod
    def build(cls, spec: AddSpec, number: int, parameters: Parameters) -> Layer:
        return cls()

    def forward(self, xs: list[Array], tape: Tape) -> tuple[Array, Backwards]:
        y = tape.empty(xs[0].shape)
        kernels.add(xs[0], xs[1], y)
        for x in xs[2:]:
            kernels.add(y, x, y)

        def backward(dy: Array) -> list[Array]:
            return [dy] * len(xs)

        return y, backward


@dataclass(frozen=True)
class Multiply:
    """The product of inputs of equal shapes.  Shapes: xs alike -> y alike."""

    @classmethod
    def build(cls, spec: MultiplySpec, number: int, parameters: Parameters) -> Layer:
        return cls()

    def forward(self, xs: list[Array], tape: Tape) -> tuple[Array, Backwards]:
        y = tape.empty(xs[0].shape)
        kernels.multiply(xs[0], xs[1], y)
        for x in xs[2:]:
            kernels.multiply(y, x, y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> list[Array]:
            if not wants_dx:
                return [dy] * len(xs)
            return [self._slope(xs, place, dy, tape) for place in range(len(xs))]

        return y, backward

    def _slope(self, xs: list[Array], place: int, dy: Array, tape: Tape) -> Array:
        """Return dy times all other inputs: dividing y by this one would fail at zero."""
        dx = tape.empty(dy.shape)
        kernels.copy(dy, dx)
        for other, x in enumerate(xs):
            if other != place:
                kernels.multiply(dx, x, dx)
        return dx


@dataclass(frozen=True)
class Concat:
    """The inputs one after the other along an axis.

    Shapes: xs alike but for the axis -> y, whose axis is the sum of theirs.
    """

    axis: int

    @classmethod
    def build(cls, spec: ConcatSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.axis)

    def forward(self, xs: list[Array], tape: Tape) -> tuple[Array, Backwards]:
        shape = list(xs[0].shape)
        shape[self.axis] = sum(x.shape[self.axis] for x in xs)
        y = tape.empty(tuple(shape))
        ends = np.cumsum([x.shape[self.axis] for x in xs])[:-1]
        for x, into in zip(xs, np.split(y, ends, axis=self.axis), strict=True):
            kernels.copy(x, into)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> list[Array]:
            if not wants_dx:
                return [dy] * len(xs)
            parts = []
            for part in np.split(dy, ends, axis=self.axis):
                parts.append(tape.empty(part.shape))  # contiguous, as every layer expects
                kernels.copy(part, parts[-1])
            return parts

        return y, backward
