"""Flatten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import FlattenSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Flatten"]


@dataclass(frozen=True)
class Flatten:
    """Make one axis of all but the batch.

    Shapes: x (batch, a, b, ...) -> y (batch, a * b * ...), in C order, the same memory.
    """

    @classmethod
    def build(cls, spec: FlattenSpec, number: int, parameters: Parameters) -> Layer:
        return cls()

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        shape = x.shape

        def backward(dy: Array) -> Array:
            return dy.reshape(shape)

        return x.reshape(len(x), -1), backward
