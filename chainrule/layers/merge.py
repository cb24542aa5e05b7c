"""Layers that join several inputs: add, multiply, concat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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
        y = np.add(xs[0], xs[1], out=tape.empty(xs[0].shape))
        for x in xs[2:]:
            y += x

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
        y = np.multiply(xs[0], xs[1], out=tape.empty(xs[0].shape))
        for x in xs[2:]:
            y *= x
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> list[Array]:
            if not wants_dx:
                return [dy] * len(xs)
            return [self._slope(xs, place, dy, tape) for place in range(len(xs))]

        return y, backward

    def _slope(self, xs: list[Array], place: int, dy: Array, tape: Tape) -> Array:
        """Return dy times all other inputs: dividing y by this one would fail at zero."""
        dx = tape.empty(dy.shape)
        np.copyto(dx, dy)
        for other, x in enumerate(xs):
            if other != place:
                dx *= x
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
        y = np.concatenate(xs, axis=self.axis, out=tape.empty(tuple(shape)))
        ends = np.cumsum([x.shape[self.axis] for x in xs])[:-1]
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> list[Array]:
            if not wants_dx:
                return [dy] * len(xs)
            parts = []
            for part in np.split(dy, ends, axis=self.axis):
                parts.append(tape.empty(part.shape))  # contiguous, as every layer expects
                np.copyto(parts[-1], part)
            return parts

        return y, backward
