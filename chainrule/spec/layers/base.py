"""What every kind of layer has: a name, what feeds it, and its shapes and cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.base import Document
from chainrule.spec.layers.initializers import Blocks, Initializer  # noqa: TC001 (a field's type)

__all__ = [
    "ACTIVATIONS",
    "ActivationName",
    "LayerBase",
    "MergeBase",
    "Scratch",
    "Shape",
    "Weight",
    "activation_flops",
    "activation_scratch",
    "wants_axes",
]

Shape = tuple[int, ...]
ActivationName = Literal[
    "linear", "relu", "leaky_relu", "elu", "gelu", "sigmoid", "tanh", "softplus", "swish", "softmax"
]
ACTIVATIONS: tuple[str, ...] = ActivationName.__args__  # type: ignore[attr-defined]
_KEEPS_INPUT = ("gelu", "softmax", "swish")  # activations whose slope is not told by the output

# Multiplications and additions of one element; an estimate, as every library's.
_ACTIVATION_FLOPS = {"linear": 0, "relu": 1, "leaky_relu": 2}


@dataclass(frozen=True)
class Weight:
    """One tensor of a layer: its name within the layer, its shape, and how it starts.

    What training moves without gradients, as moving means, is not ``trainable``.
    Raises: SpecError, if what is no matrix is to start as identity.
    """

    name: str
    shape: Shape
    initializer: Initializer | Blocks
    trainable: bool = True

    def __post_init__(self) -> None:
        kind = getattr(self.initializer, "kind", self.initializer)
        if kind == "identity" and len(self.shape) != 2:
            detail = f"{self.name} cannot start as identity: that wants two axes, got {self.shape}"
            raise SpecError(Problem("", detail))

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Scratch(NamedTuple):
    """What a training step takes from the tape for a layer: values for each row, and at any rate.

    The first two are what forward takes, and backward may read. ``back_`` is what backward takes
    beside; none for each row says that the gradient it is given goes on as it is. ``back_parts``:
    how many arrays that is, the gradients in the inputs not counted.
    Units: values of the network's precision.
    """

    per_row: int
    fixed: int = 0
    back_per_row: int = 0
    back_fixed: int = 0
    back_parts: int = 1


class LayerBase(Document):
    """What every kind with one input has."""

    least_inputs: ClassVar[int] = 1
    most_inputs: ClassVar[int] = 1

    name: str | None = Field(None, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-]+$")
    inputs: list[str] | None = Field(None, min_length=1, max_length=64)
    kind: str

    @property
    def keeps_mask(self) -> bool:
        """Whether the mask of padded steps goes on with the output."""
        return False

    @property
    def any_length(self) -> bool:
        """Whether the steps of a sequence may come in windows, one after the other."""
        return False

    def output_shape(self, shape: Shape, /) -> Shape:
        """Return the output's shape.  Raises: SpecError, if the input's does not fit."""
        return shape

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        """Return the tensors, in the order of the flat vectors."""
        return ()

    def flops(self, shape: Shape, /) -> int:
        """Return the floating-point operations of one sample's forward pass."""
        return 0

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        """Return what forward and backward take from the tape in a training step.

        ``wants_dx``: whether the gradient in the inputs is wanted.
        """
        return Scratch(0)


class MergeBase(LayerBase):
    """What every kind with several inputs has."""

    least_inputs: ClassVar[int] = 2
    most_inputs: ClassVar[int] = 64

    @property
    def keeps_mask(self) -> bool:
        return True

    @property
    def any_length(self) -> bool:
        return True

    def output_shape(self, /, *shapes: Shape) -> Shape:
        return shapes[0]

    def weights(self, /, *shapes: Shape) -> tuple[Weight, ...]:
        return ()

    def flops(self, /, *shapes: Shape) -> int:
        return 0

    def scratch(self, /, *shapes: Shape, wants_dx: bool) -> Scratch:
        return Scratch(0)


def activation_flops(activation: str, size: int) -> int:
    """Return the operations of an activation of so many values."""
    return _ACTIVATION_FLOPS.get(activation, 5) * size


def activation_scratch(activation: str, size: int) -> Scratch:
    """Return what ``chainrule.layers.Ending`` takes beside its caller's own array.

    ``size`` is that array's; a linear activation takes nothing, the others their gradient, and
    those whose slope needs the input keep it beside the output.
    """
    keeps_input = activation in _KEEPS_INPUT
    return Scratch(keeps_input * size, back_per_row=(activation != "linear") * size)


def wants_axes(shape: Shape, axes: tuple[str, ...], hint: str = "") -> None:
    """Raise SpecError, stating both shapes, if the input has other axes."""
    if len(shape) != len(axes):
        wanted = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
        message = f"wants inputs of shape {wanted}, got {shape}"
        raise SpecError(Problem("", f"{message}: {hint}" if hint else message))
