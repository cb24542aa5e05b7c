"""Pooling and its opposite: Keras 3's names and defaults."""

from __future__ import annotations

import math
from typing import Literal

from chainrule.spec.layers.base import LayerBase, Scratch, Shape, wants_axes
from chainrule.spec.layers.convolution import IMAGE, SEQUENCE
from chainrule.spec.layers.sliding import (
    Axis,
    Padding,
    Pair,
    Single,
    Windows,
    couple,
    slide,
)

__all__ = [
    "AvgPool2DSpec",
    "GlobalAvgPool2DSpec",
    "GlobalMaxPool1DSpec",
    "MaxPool1DSpec",
    "MaxPool2DSpec",
    "PoolBase",
    "UpSampling2DSpec",
]


class PoolBase(LayerBase):
    """What takes one number from each window of each channel; ``strides`` null: the pool's size."""

    padding: Padding = "valid"

    def windows(self, shape: Shape, /) -> Windows:
        """Return the windows over an input.  Raises: SpecError, if it does not fit."""
        raise NotImplementedError

    def output_shape(self, shape: Shape, /) -> Shape:
        windows = self.windows(shape)
        rows = (windows.rows.windows,) if len(shape) == 3 else ()
        return (*rows, windows.columns.windows, shape[-1])

    def flops(self, shape: Shape, /) -> int:
        return self.windows(shape).size * math.prod(self.output_shape(shape))


class _MaxPool(PoolBase):
    """The largest number of each window; the first of equals gets the gradient."""

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        windows, out = self.windows(shape), math.prod(self.output_shape(shape))
        places = -(-out * windows.place_bytes // 4)  # no floats: in words of single precision
        return Scratch(out + places, back_per_row=wants_dx * math.prod(shape))


class MaxPool1DSpec(_MaxPool):
    """The largest number of each window of a sequence.

    Shape: (steps, channels) -> (windows, channels).
    """

    kind: Literal["max_pool1d"] = "max_pool1d"
    pool_size: Single = 2
    strides: Single | None = None

    def windows(self, shape: Shape, /) -> Windows:
        wants_axes(shape, SEQUENCE)
        sizes = (self.pool_size, self.pool_size if self.strides is None else self.strides)
        size, stride = (n if isinstance(n, int) else n[0] for n in sizes)
        return Windows(Axis(1), slide(shape[0], size, stride, 1, self.padding, "pool_size"))


class _ImagePool(PoolBase):
    """What pools an image."""

    pool_size: Pair = 2
    strides: Pair | None = None

    def windows(self, shape: Shape, /) -> Windows:
        wants_axes(shape, IMAGE)
        size = couple(self.pool_size)
        stride = size if self.strides is None else couple(self.strides)
        rows, columns = (
            slide(*numbers, 1, self.padding, "pool_size")
            for numbers in zip(shape, size, stride, strict=False)
        )
        return Windows(rows, columns)


class MaxPool2DSpec(_ImagePool, _MaxPool):
    """The largest number of each window of an image.

    Shape: (height, width, channels) -> (window rows, window columns, channels).
    """

    kind: Literal["max_pool2d"] = "max_pool2d"


class AvgPool2DSpec(_ImagePool):
    """The mean of each window of an image; padding does not count.

    Shape: (height, width, channels) -> (window rows, window columns, channels).
    """

    kind: Literal["avg_pool2d"] = "avg_pool2d"

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        out = math.prod(self.output_shape(shape))
        return Scratch(out, back_per_row=wants_dx * (out + math.prod(shape)))


class _GlobalPool(LayerBase):
    """What takes one number from each channel; ``keepdims`` leaves axes of size 1."""

    keepdims: bool = False

    def _pooled(self, shape: Shape) -> Shape:
        return (*(1 for _ in shape[:-1]), shape[-1]) if self.keepdims else shape[-1:]

    def flops(self, shape: Shape, /) -> int:
        return math.prod(shape)


class GlobalAvgPool2DSpec(_GlobalPool):
    """The mean of each channel of an image.  Shape: (height, width, channels) -> (channels,)."""

    kind: Literal["global_avg_pool2d"] = "global_avg_pool2d"

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, IMAGE)
        return self._pooled(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        return Scratch(shape[-1], back_per_row=wants_dx * math.prod(shape))


class GlobalMaxPool1DSpec(_GlobalPool):
    """The largest number of each channel of a sequence.

    Shape: (steps, channels) -> (channels,).
    """

    kind: Literal["global_max_pool1d"] = "global_max_pool1d"

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, SEQUENCE)
        return self._pooled(shape)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        size = math.prod(shape)
        return Scratch(shape[-1], back_per_row=wants_dx * (size + -(-size // 4)))


class UpSampling2DSpec(LayerBase):
    """Each cell of an image as a block of cells, equal or interpolated.

    Shape: (height, width, channels) -> (height * rows, width * columns, channels).
    """

    kind: Literal["up_sampling2d"] = "up_sampling2d"
    size: Pair = 2
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def output_shape(self, shape: Shape, /) -> Shape:
        wants_axes(shape, IMAGE)
        rows, columns = couple(self.size)
        return shape[0] * rows, shape[1] * columns, shape[2]

    def flops(self, shape: Shape, /) -> int:
        return 0 if self.interpolation == "nearest" else 7 * math.prod(self.output_shape(shape))

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        out = math.prod(self.output_shape(shape))
        size = math.prod(shape)
        # Stretched along one axis only.
        tall = size * couple(self.size)[0] if self.interpolation == "bilinear" else 0
        return Scratch(out + tall, back_per_row=wants_dx * (size + tall))
