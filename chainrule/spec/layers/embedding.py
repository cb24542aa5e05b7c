"""Layers of learned vectors: embedding of whole numbers, positional_embedding of steps."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.layers.base import LayerBase, Scratch, Shape, Weight, wants_axes
from chainrule.spec.layers.core import Stepwise
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)

__all__ = ["EmbeddingSpec", "PositionalEmbeddingSpec"]


class EmbeddingSpec(LayerBase):
    """A learned vector for each whole number.  Shape: (...) -> (..., output_dim).

    What feeds it is an input of the network, of whole numbers from 0 to ``input_dim`` - 1; of a
    column's categories that may be ``auto``.
    ``mask_zero`` says that 0 stands for padding, which the layers above then leave out.
    """

    kind: Literal["embedding"] = "embedding"
    # Up to where single precision holds every whole number.
    input_dim: Annotated[int, Field(ge=1, le=10_000_000)] | Literal["auto"]
    output_dim: Annotated[int, Field(ge=1, le=1_000_000)]
    embeddings_initializer: Initializer = "random_uniform"
    mask_zero: bool = False

    @property
    def keeps_mask(self) -> bool:
        return True  # it makes one

    @property
    def any_length(self) -> bool:
        return True

    @property
    def known_input_dim(self) -> int:
        """The number of rows, once ``auto`` has been resolved."""
        if self.input_dim == "auto":
            detail = "auto is known only from a job's data; give a number"
            raise SpecError(Problem("input_dim", detail))
        return self.input_dim

    def output_shape(self, shape: Shape, /) -> Shape:
        if self.mask_zero and len(shape) != 1:
            detail = f"wants inputs of shape (steps,), got {shape}"
            raise SpecError(Problem("mask_zero", detail))
        return (*shape, self.output_dim)

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        of = (self.known_input_dim, self.output_dim)
        return (Weight("embeddings", of, self.embeddings_initializer),)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        size = math.prod(shape)
        # Vectors, the numbers in eight bytes each, and the mask in one.
        own = size * self.output_dim + 2 * size + self.mask_zero * -(-size // 4)
        return Scratch(own, back_per_row=wants_dx * size)


class PositionalEmbeddingSpec(Stepwise):
    """Add a learned vector for each step's place in the sequence.

    Shape: (steps, features), unchanged.
    """

    kind: Literal["positional_embedding"] = "positional_embedding"
    initializer: Initializer = "glorot_uniform"

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, ("steps", "features"))
        return shape

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        return (Weight("position_embeddings", shape, self.initializer),)

    def flops(self, shape: Shape, /) -> int:
        return math.prod(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        return Scratch(math.prod(shape))
