"""Convolutions of sequences and images: Keras 3's names, defaults and weight layouts.

Images are (height, width, channels), sequences (steps, channels).
"""

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
    wants_axes,
)
from chainrule.spec.layers.initializers import Initializer  # noqa: TC001 (a field's type)
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
    "IMAGE",
    "SEQUENCE",
    "Conv1DSpec",
    "Conv2DSpec",
    "ConvolutionBase",
    "Filters",
    "check_steps",
    "image_windows",
]

IMAGE = ("height", "width", "channels")
SEQUENCE = ("steps", "channels")
Filters = Annotated[int, Field(ge=1, le=1_000_000)]


class ConvolutionBase(LayerBase):
    """What every convolution has: a bias, an activation, and windows."""

    activation: ActivationName = "linear"
    use_bias: bool = True
    bias_initializer: Initializer = "zeros"

    def windows(self, shape: Shape, /) -> Windows:
        """Return the windows over an input.  Raises: SpecError, if it does not fit."""
        raise NotImplementedError

    def with_bias(self, channels: int, *kernels: Weight) -> tuple[Weight, ...]:
        """Return the kernels, and the bias of the output's channels if there is one."""
        bias = Weight("bias", (channels,), self.bias_initializer)
        return (*kernels, bias) if self.use_bias else kernels

    def ending_flops(self, out: int) -> int:
        """Return the operations of bias and activation of so many values."""
        return self.use_bias * out + activation_flops(self.activation, out)


class _Convolution(ConvolutionBase):
    """A kernel over all channels of a window, or over those of a group."""

    filters: Filters
    groups: int = Field(1, ge=1, le=1_000_000)
    kernel_initializer: Initializer = "glorot_uniform"

    def output_shape(self, shape: Shape, /) -> Shape:
        windows = self.windows(shape)
        for count, what in ((shape[-1], "channels of the input"), (self.filters, "filters")):
            if count % self.groups:
                detail = f"must divide the {count} {what}, got {self.groups}"
                raise SpecError(Problem("groups", detail))
        rows = (windows.rows.windows,) if len(shape) == 3 else ()
        return (*rows, windows.columns.windows, self.filters)

    def weights(self, shape: Shape, /) -> tuple[Weight, ...]:
        axes = self.windows(shape)
        rows = (axes.rows.kernel,) if len(shape) == 3 else ()
        size = (*rows, axes.columns.kernel, shape[-1] // self.groups, self.filters)
        return self.with_bias(self.filters, Weight("kernel", size, self.kernel_initializer))

    def flops(self, shape: Shape, /) -> int:
        windows, out = self.windows(shape), math.prod(self.output_shape(shape))
        return 2 * windows.size * (shape[-1] // self.groups) * out + self.ending_flops(out)

    def scratch(self, shape: Shape, /, *, wants_dx: bool) -> Scratch:
        windows, out = self.windows(shape), math.prod(self.output_shape(shape))
        ending = activation_scratch(self.activation, out)
        back = ending.back_per_row + wants_dx * math.prod(shape)
        channels = shape[-1] // self.groups
        work = windows.work(channels, self.filters, self.groups)
        return Scratch(out + ending.per_row, work, back)


class Conv1DSpec(_Convolution):
    """A convolution along a sequence; ``causal`` pads so that no step sees a later one.

    Shape: (steps, channels) -> (windows, filters).
    """

    kind: Literal["conv1d"] = "conv1d"
    kernel_size: Single
    strides: Single = 1
    padding: Literal["valid", "same", "causal"] = "valid"
    dilation_rate: Single = 1

    def windows(self, shape: Shape, /) -> Windows:
        wants_axes(shape, SEQUENCE)
        sizes = (self.kernel_size, self.strides, self.dilation_rate)
        kernel, stride, dilation = (n if isinstance(n, int) else n[0] for n in sizes)
        check_steps((stride,), (dilation,))
        columns = slide(shape[0], kernel, stride, dilation, self.padding, "kernel_size")
        return Windows(Axis(1), columns)


class Conv2DSpec(_Convolution):
    """A convolution of an image.

    Shape: (height, width, channels) -> (window rows, window columns, filters).
    """

    kind: Literal["conv2d"] = "conv2d"
    kernel_size: Pair
    strides: Pair = 1
    padding: Padding = "valid"
    dilation_rate: Pair = 1

    def windows(self, shape: Shape, /) -> Windows:
        return image_windows(
            shape, self.kernel_size, self.strides, self.dilation_rate, self.padding
        )


def image_windows(
    shape: Shape,
    kernel_size: int | list[int],
    strides: int | list[int],
    dilation_rate: int | list[int],
    padding: str,
) -> Windows:
    """Return a convolution's windows over an image.

    Raises: SpecError, at the field that does not fit.
    """
    wants_axes(shape, IMAGE)
    kernel, stride, dilation = couple(kernel_size), couple(strides), couple(dilation_rate)
    check_steps(stride, dilation)
    rows, columns = (
        slide(*numbers, padding, "kernel_size")
        for numbers in zip(shape, kernel, stride, dilation, strict=False)
    )
    return Windows(rows, columns)


def check_steps(stride: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    """Raise SpecError if windows both skip cells and stand apart, as Keras does."""
    if max(stride) > 1 and max(dilation) > 1:
        detail = f"above 1 wants strides of 1, got {max(dilation)} and strides of {max(stride)}"
        raise SpecError(Problem("dilation_rate", detail))
