"""Layers that join several inputs: add, multiply, concat."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.layers.base import MergeBase, Scratch, Shape

__all__ = ["AddSpec", "ConcatSpec", "MultiplySpec"]


class _Alike(MergeBase):
    """What joins inputs element by element."""

    def output_shape(self, /, *shapes: Shape) -> Shape:
        different = next((shape for shape in shapes if shape != shapes[0]), None)
        if different is not None:
            detail = f"wants inputs of equal shapes, got {shapes[0]} and {different}"
            raise SpecError(Problem("inputs", detail))
        return shapes[0]

    def flops(self, /, *shapes: Shape) -> int:
        return (len(shapes) - 1) * math.prod(shapes[0])


class AddSpec(_Alike):
    """The sum of its inputs, element by element.  Shape: theirs, all equal."""

    kind: Literal["add"] = "add"

    def scratch(self, /, *shapes: Shape, wants_dx: bool) -> Scratch:
        return Scratch(math.prod(shapes[0]))


class MultiplySpec(_Alike):
    """The product of its inputs, element by element.  Shape: theirs, all equal."""

    kind: Literal["multiply"] = "multiply"

    def scratch(self, /, *shapes: Shape, wants_dx: bool) -> Scratch:
        size = math.prod(shapes[0])
        return Scratch(size, back_per_row=wants_dx * len(shapes) * size)


class ConcatSpec(MergeBase):
    """Its inputs one after the other along an axis.

    ``axis`` counts the batch axis as 0, as Keras does.  Shape: the sum of theirs along the axis.
    """

    kind: Literal["concat"] = "concat"
    axis: int = Field(-1, ge=-5, le=5)

    @property
    def keeps_mask(self) -> bool:
        return self.axis == -1 or self.axis > 1

    @property
    def any_length(self) -> bool:
        return self.keeps_mask  # else it may be the steps that are joined

    def output_shape(self, /, *shapes: Shape) -> Shape:
        first = shapes[0]
        axis = self.axis - 1 if self.axis > 0 else len(first) + self.axis
        if self.axis == 0 or not 0 <= axis < len(first):
            raise SpecError(Problem("axis", f"must be an axis of {first} but the batch's (0)"))
        for shape in shapes:
            if len(shape) != len(first) or any(
                a != b
                for place, (a, b) in enumerate(zip(first, shape, strict=True))
                if place != axis
            ):
                detail = (
                    f"wants inputs that differ in axis {self.axis} only, got {first} and {shape}"
                )
                raise SpecError(Problem("inputs", detail))
        joined = sum(shape[axis] for shape in shapes)
        return (*first[:axis], joined, *first[axis + 1 :])

    def scratch(self, /, *shapes: Shape, wants_dx: bool) -> Scratch:
        size = sum(map(math.prod, shapes))
        return Scratch(size, back_per_row=wants_dx * size)
