"""The layers of the architecture language: one frozen class per kind, with shapes and cost.

A class here says what a layer *is* (fields, shapes, parameters, FLOPs); its namesake in
``chainrule.layers`` says what it *does*. Shapes leave the batch axis out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.base import Document

__all__ = [
    "ACTIVATIONS",
    "KINDS",
    "ActivationName",
    "ActivationSpec",
    "DenseSpec",
    "DropoutSpec",
    "FlattenSpec",
    "InitializerName",
    "LayerBase",
    "LayerSpec",
    "Shape",
    "Weight",
]

Shape = tuple[int, ...]
ActivationName = Literal[
    "linear", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "swish", "softmax"
]
ACTIVATIONS: tuple[str, ...] = ActivationName.__args__  # type: ignore[attr-defined]
InitializerName = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "zeros", "ones"
]

# Multiplications and additions of one element; an estimate, as every library's.
_ACTIVATION_FLOPS = {"linear": 0, "relu": 1, "leaky_relu": 2}


@dataclass(frozen=True)
class Weight:
    """One trainable tensor: its name within the layer, its shape, and how it starts."""

    name: str
    shape: Shape
    initializer: InitializerName

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class LayerBase(Document):
    """What every kind has: a name, and the layers that feed it."""

    name: str | None = Field(None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-]+$")
    inputs: list[str] | None = Field(None, min_length=1, max_length=1)
    kind: str

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output's shape.  Raises: SpecError, if the input's does not fit."""
        return shape

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        """Return the trainable tensors, in the order of the flat vector."""
        return ()

    def flops(self, shape: Shape) -> int:
        """Return the floating-point operations of one sample's forward pass."""
        return 0


class DenseSpec(LayerBase):
    """Affine map, then an activation.  Shape: (inputs,) -> (units,)."""

    kind: Literal["dense"] = "dense"
    units: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"]
    activation: ActivationName = "linear"
    use_bias: bool = True
    kernel_initializer: InitializerName = "glorot_uniform"
    bias_initializer: InitializerName = "zeros"

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            message = f"wants inputs of shape (features,), got {shape}: put a flatten before it"
            raise SpecError(Problem("", message))
        return (self.known_units,)

    @property
    def known_units(self) -> int:
        """The units, once ``auto`` has been resolved."""
        if self.units == "auto":
            raise SpecError(Problem("units", "auto is known only from a job's data; give a number"))
        return self.units

    def weights(self, shape: Shape) -> tuple[Weight, ...]:
        kernel = Weight("kernel", (shape[0], self.known_units), self.kernel_initializer)
        bias = Weight("bias", (self.known_units,), self.bias_initializer)
        return (kernel, bias) if self.use_bias else (kernel,)

    def flops(self, shape: Shape) -> int:
        per_unit = 2 * shape[0] + self.use_bias + _ACTIVATION_FLOPS.get(self.activation, 5)
        return per_unit * self.known_units


class ActivationSpec(LayerBase):
    """An elementwise function, or softmax over the last axis.  Shape: unchanged."""

    kind: Literal["activation"] = "activation"
    activation: ActivationName

    def flops(self, shape: Shape) -> int:
        return _ACTIVATION_FLOPS.get(self.activation, 5) * math.prod(shape)


class DropoutSpec(LayerBase):
    """Zero a share of the inputs while training and scale the rest up.  Shape: unchanged."""

    kind: Literal["dropout"] = "dropout"
    rate: float = Field(ge=0.0, lt=1.0)

    def flops(self, shape: Shape) -> int:
        return 2 * math.prod(shape)


class FlattenSpec(LayerBase):
    """Make one axis of all.  Shape: (a, b, ...) -> (a * b * ...,)."""

    kind: Literal["flatten"] = "flatten"

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(shape),)


LayerSpec = Annotated[
    DenseSpec | ActivationSpec | DropoutSpec | FlattenSpec, Field(discriminator="kind")
]
KINDS = ("dense", "activation", "dropout", "flatten")
