"""Layers of no particular shape: dense, activation, dropout, flatten, reshape, shared."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.layers.base import (
    ActivationName,
    LayerBase,
    Scratch,
    Shape,
    Weight,
    activation_flops,
    activation_scratch,
)
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)

__all__ = [
    "ActivationSpec",
    "DenseSpec",
    "DropoutSpec",
    "FlattenSpec",
    "ReshapeSpec",
    "SharedSpec",
    "Stepwise",
]


class Stepwise(LayerBase):
    """What works on each step of a sequence by itself: masks and windows pass through."""

    @property
    def keeps_mask(self) -> bool:
        return True

    @property
    def any_length(self) -> bool:
        return True


class DenseSpec(Stepwise):
    """Affine map of the last axis, then an activation.  Shape: (..., inputs) -> (..., units)."""

    kind: Literal["dense"] = "dense"
    units: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"]
    activation: ActivationName = "linear"
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"

    def output_shape(self, shape: Shape, /) -> Shape:
        return (*shape[:-1], self.known_units)

    @property
    def known_units(self) -> int:
        """The units, once ``auto`` has been resolved."""
        if self.units == "auto":
            raise SpecError(Problem("units", "auto is known only from a job's data; give a number"))
        return self.units

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        kernel = Weight("kernel", (shape[-1], self.known_units), self.kernel_initializer)
        bias = Weight("bias", (self.known_units,), self.bias_initializer)
        return (kernel, bias) if self.use_bias else (kernel,)

    def flops(self, shape: Shape, /) -> int:
        units = self.known_units
        per_position = (2 * shape[-1] + self.use_bias) * units
        per_position += activation_flops(self.activation, units)
        return per_position * math.prod(shape[:-1])

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        out = math.prod(self.output_shape(shape))
        ending = activation_scratch(self.activation, out)
        back = ending.back_per_row + wants_dx * math.prod(shape)
        return Scratch(out + ending.per_row, back_per_row=back)


class ActivationSpec(Stepwise):
    """An elementwise function, or softmax over the last axis.  Shape: unchanged."""

    kind: Literal["activation"] = "activation"
    activation: ActivationName

    def flops(self, shape: Shape, /) -> int:
        return activation_flops(self.activation, math.prod(shape))

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        if self.activation == "linear":
            return Scratch(0)
        size = math.prod(shape)
        return Scratch(size, back_per_row=wants_dx * size)


class DropoutSpec(Stepwise):
    """Zero a share of the inputs while training and scale the rest up.  Shape: unchanged."""

    kind: Literal["dropout"] = "dropout"
    rate: float = Field(ge=0.0, lt=1.0)

    def flops(self, shape: Shape, /) -> int:
        return 2 * math.prod(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        size = math.prod(shape) if self.rate else 0
        # Draw, mask, output; the draw is always in single precision.
        return Scratch(3 * size, back_per_row=wants_dx * size)


class FlattenSpec(LayerBase):
    """Make one axis of all.  Shape: (a, b, ...) -> (a * b * ...,)."""

    kind: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape, /) -> Shape:
        return (math.prod(shape),)


class ReshapeSpec(LayerBase):
    """Give the same values other axes; one of them may be -1, what is left.

    Shape: (a, b, ...) -> target_shape.
    """

    kind: Literal["reshape"] = "reshape"
    target_shape: list[Annotated[int, Field(ge=-1, le=10_000_000)]] = Field(
        min_length=1, max_length=4
    )

    def output_shape(self, shape: Shape, /) -> Shape:
        size, known = math.prod(shape), math.prod(n for n in self.target_shape if n != -1)
        free = self.target_shape.count(-1)
        if free > 1 or 0 in self.target_shape:
            raise SpecError(Problem("target_shape", "must be sizes >= 1, one of them -1 at most"))
        if (size % known) if free else (size != known):
            detail = f"{tuple(self.target_shape)} does not hold the {size:,} values of {shape}"
            raise SpecError(Problem("target_shape", detail))
        return tuple(size // known if n == -1 else n for n in self.target_shape)


class SharedSpec(LayerBase):
    """Another layer once more, with the same parameters, as in a siamese network.

    Shape: as the layer's.
    """

    kind: Literal["shared"] = "shared"
    layer: str = Field(min_length=1, max_length=64)
