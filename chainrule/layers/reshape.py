"""Flatten and reshape: the same memory under another shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import FlattenSpec, ReshapeSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Reshape"]


@dataclass(frozen=True)
class Reshape:
    """Give each sample another shape; one size may be -1, what is left.

    Shapes: x (batch, ...) -> y (batch, *target_shape), in C order, the same memory.
    """

    target_shape: tuple[int, ...]

    @classmethod
    def build(cls, spec: ReshapeSpec | FlattenSpec, number: int, parameters: Parameters) -> Layer:
        return cls((-1,) if spec.kind == "flatten" else tuple(spec.target_shape))

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        shape = x.shape

        def backward(dy: Array) -> Array:
            return dy.reshape(shape)

        return x.reshape(len(x), *self.target_shape), backward
