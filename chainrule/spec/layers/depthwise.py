"""Convolutions that keep channels apart, and the transposed one: Keras 3's names and defaults."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from chainrule.spec.layers.base import Scratch, Shape, Weight, activation_scratch
from chainrule.spec.layers.convolution import ConvolutionBase, Filters, image_windows
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)
from chainrule.spec.layers.sliding import (
    Padding,
    Pair,
    Windows,
    couple,
)

__all__ = ["DepthwiseConv2DSpec", "SeparableConv2DSpec"]


class DepthwiseBase(ConvolutionBase):
    """What convolves each channel by itself, with ``depth_multiplier`` kernels."""

    kernel_size: Pair
    strides: Pair = 1
    padding: Padding = "valid"
    depth_multiplier: int = Field(1, ge=1, le=10_000)
    dilation_rate: Pair = 1
    depthwise_initializer: Initializer = "glorot_uniform"

    def windows(self, shape: Shape, /) -> Windows:
        return image_windows(
            shape, self.kernel_size, self.strides, self.dilation_rate, self.padding
        )

    def spread_shape(self, shape: Shape) -> Shape:
        """Return the shape after the channels' own convolutions."""
        windows = self.windows(shape)
        channels = shape[-1] * self.depth_multiplier
        return windows.rows.windows, windows.columns.windows, channels

    def own_kernel(self, name: str, shape: Shape) -> Weight:
        """Return the kernel of the channels' own convolutions."""
        size = (*couple(self.kernel_size), shape[-1], self.depth_multiplier)
        return Weight(name, size, self.depthwise_initializer)

    def own_scratch(self, shape: Shape, *, wants_dx: bool) -> Scratch:
        """Return what the channels' own convolutions take."""
        windows, spread = self.windows(shape), math.prod(self.spread_shape(shape))
        channels = shape[-1] * self.depth_multiplier
        cells = windows.padded_cells or (windows.cells if self.depth_multiplier > 1 else 0)
        wide = cells * channels
        fixed = windows.depthwise_rows(channels) * (spread + wide)
        fixed += windows.size * channels * windows.columns.windows
        return Scratch(spread, fixed, wants_dx * math.prod(shape))


class DepthwiseConv2DSpec(DepthwiseBase):
    """A convolution of each channel by itself.

    Shape: (height, width, channels) -> (window rows, window columns, channels * depth_multiplier).
    """

    kind: Literal["depthwise_conv2d"] = "depthwise_conv2d"

    def output_shape(self, shape: Shape, /) -> Shape:
        return self.spread_shape(shape)

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        return self.with_bias(self.output_shape(shape)[-1], self.own_kernel("kernel", shape))

    def flops(self, shape: Shape, /) -> int:
        out = math.prod(self.output_shape(shape))
        return 2 * self.windows(shape).size * out + self.ending_flops(out)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        own = self.own_scratch(shape, wants_dx=wants_dx)
        ending = activation_scratch(self.activation, math.prod(self.output_shape(shape)))
        return own._replace(
            per_row=own.per_row + ending.per_row,
            back_per_row=own.back_per_row + ending.back_per_row,
        )


class SeparableConv2DSpec(DepthwiseBase):
    """A convolution of each channel by itself, then one of all channels at each place.

    Shape: (height, width, channels) -> (window rows, window columns, filters).
    """

    kind: Literal["separable_conv2d"] = "separable_conv2d"
    filters: Filters
    pointwise_initializer: Initializer = "glorot_uniform"

    def output_shape(self, shape: Shape, /) -> Shape:
        return (*self.spread_shape(shape)[:2], self.filters)

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        channels = shape[-1] * self.depth_multiplier
        size = (1, 1, channels, self.filters)
        pointwise = Weight("pointwise_kernel", size, self.pointwise_initializer)
        return self.with_bias(self.filters, self.own_kernel("depthwise_kernel", shape), pointwise)

    def flops(self, shape: Shape, /) -> int:
        out, spread = math.prod(self.output_shape(shape)), math.prod(self.spread_shape(shape))
        pointwise = 2 * shape[-1] * self.depth_multiplier * out
        return 2 * self.windows(shape).size * spread + pointwise + self.ending_flops(out)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        own = self.own_scratch(shape, wants_dx=wants_dx)
        out, spread = math.prod(self.output_shape(shape)), math.prod(self.spread_shape(shape))
        ending = activation_scratch(self.activation, out)
        return own._replace(
            per_row=own.per_row + out + ending.per_row,
            back_per_row=own.back_per_row + spread + ending.back_per_row,
        )
