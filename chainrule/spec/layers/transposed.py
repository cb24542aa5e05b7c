"""The transposed convolution: Keras 3's names, defaults and weight layout."""

from __future__ import annotations

import math
from typing import Literal

from chainrule.spec.layers.base import Scratch, Shape, Weight, activation_scratch, wants_axes
from chainrule.spec.layers.convolution import IMAGE, ConvolutionBase, Filters, check_steps
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)
from chainrule.spec.layers.sliding import (
    Axis,
    Padding,
    Pair,
    Windows,
    couple,
    slide,
)

__all__ = ["Conv2DTransposeSpec"]


class Conv2DTransposeSpec(ConvolutionBase):
    """The transpose of a convolution: each cell adds a kernel to the window that it stands for.

    Shape: (height, width, channels) -> (height * stride, width * stride, filters), and with
    ``valid`` padding the rest of the last window beside.
    """

    kind: Literal["conv2d_transpose"] = "conv2d_transpose"
    filters: Filters
    kernel_size: Pair
    strides: Pair = 1
    padding: Padding = "valid"
    output_padding: None = None
    dilation_rate: Pair = 1
    kernel_initializer: Initializer = "glorot_uniform"

    def windows(self, shape: Shape, /) -> Windows:
        """Return the windows over the output: one for each cell of the input."""
        wants_axes(shape, IMAGE)
        stride, dilation = couple(self.strides), couple(self.dilation_rate)
        check_steps(stride, dilation)
        rows, columns = (
            self._axis(*numbers)
            for numbers in zip(shape, couple(self.kernel_size), stride, dilation, strict=False)
        )
        return Windows(rows, columns)

    def _axis(self, cells: int, kernel: int, stride: int, dilation: int) -> Axis:
        extent = (kernel - 1) * dilation + 1
        rest = max(extent - stride, 0) if self.padding == "valid" else 0
        size = cells * stride + rest
        return slide(size, kernel, stride, dilation, self.padding, "kernel_size")

    def output_shape(self, shape: Shape, /) -> Shape:
        windows = self.windows(shape)
        return windows.rows.size, windows.columns.size, self.filters

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        wants_axes(shape, IMAGE)
        size = (*couple(self.kernel_size), self.filters, shape[-1])
        return self.with_bias(self.filters, Weight("kernel", size, self.kernel_initializer))

    def flops(self, shape: Shape, /) -> int:
        taps = self.windows(shape).size * self.filters
        return 2 * taps * math.prod(shape) + self.ending_flops(math.prod(self.output_shape(shape)))

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        windows, out = self.windows(shape), math.prod(self.output_shape(shape))
        ending = activation_scratch(self.activation, out)
        back = ending.back_per_row + wants_dx * math.prod(shape)
        return Scratch(out + ending.per_row, windows.work(self.filters, shape[-1]), back)
