"""Layers that normalise: batch_norm over the batch, layer_norm over each sample's last axes."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.layers.base import Scratch, Shape, Weight
from chainrule.spec.layers.core import Stepwise
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)

__all__ = ["BatchNormSpec", "LayerNormSpec"]

Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]


class BatchNormSpec(Stepwise):
    """Normalise each channel over the batch, then scale and shift it.  Shape: unchanged.

    Training uses the batch's moments and moves ``moving_mean`` and ``moving_variance`` towards
    them; prediction uses the moving ones. With a mask, padded steps do not count in the moments.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    axis: Literal[-1] = -1
    momentum: float = Field(0.99, ge=0.0, lt=1.0)
    epsilon: Epsilon = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = "zeros"
    gamma_initializer: Initializer = "ones"
    moving_mean_initializer: Initializer = "zeros"
    moving_variance_initializer: Initializer = "ones"

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        channels = shape[-1:]
        found = []
        if self.scale:
            found.append(Weight("gamma", channels, self.gamma_initializer))
        if self.center:
            found.append(Weight("beta", channels, self.beta_initializer))
        moving = (
            ("moving_mean", self.moving_mean_initializer),
            ("moving_variance", self.moving_variance_initializer),
        )
        found += [Weight(name, channels, start, trainable=False) for name, start in moving]
        return tuple(found)

    def flops(self, shape: Shape, /) -> int:
        return 4 * math.prod(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        size, channels = math.prod(shape), shape[-1]
        # Mean, variance, its root's reciprocal; the gradients of scale and shift.
        return Scratch(size, 3 * channels, wants_dx * size, 2 * channels)


class LayerNormSpec(Stepwise):
    """Normalise each sample over its last axes, then scale and shift.  Shape: unchanged.

    ``axis`` counts the batch axis as 0, as Keras does; several must be the last ones.
    """

    kind: Literal["layer_norm"] = "layer_norm"
    axis: int | Annotated[list[int], Field(min_length=1, max_length=4)] = -1
    epsilon: Epsilon = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = "zeros"
    gamma_initializer: Initializer = "ones"

    @property
    def any_length(self) -> bool:
        return self.axis in (-1, [-1])  # else the steps may be among the axes

    def normalized(self, shape: Shape, /) -> Shape:
        """Return the sizes of the axes that are normalised together.

        Raises: SpecError, if they are not the last ones.
        """
        given = [self.axis] if isinstance(self.axis, int) else self.axis
        rank = len(shape) + 1
        axes = sorted(axis % rank if -rank <= axis < rank else 0 for axis in given)
        if axes != list(range(rank - len(axes), rank)) or 0 in axes:
            detail = f"must be the last axis or axes of {shape}, got {self.axis}"
            raise SpecError(Problem("axis", detail))
        return shape[-len(axes) :]

    def output_shape(self, shape: Shape, /) -> Shape:
        self.normalized(shape)
        return shape

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        normalized = self.normalized(shape)
        found = []
        if self.scale:
            found.append(Weight("gamma", normalized, self.gamma_initializer))
        if self.center:
            found.append(Weight("beta", normalized, self.beta_initializer))
        return tuple(found)

    def flops(self, shape: Shape, /) -> int:
        return 8 * math.prod(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        normalized = math.prod(self.normalized(shape))
        size = math.prod(shape)
        # Mean and its root's reciprocal of each row; the gradients of scale and shift.
        return Scratch(size + 2 * (size // normalized), 0, wants_dx * size, 2 * normalized)
