"""Convolutions that keep channels apart: depthwise, and separable, a pointwise one behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.activation import Ending
from chainrule.layers.dense import Dense

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import DepthwiseConv2DSpec, SeparableConv2DSpec
    from chainrule.spec.layers.sliding import Windows
    from chainrule.tape import Array, Backward, Tape

__all__ = ["DepthwiseConvolution", "SeparableConvolution"]


@dataclass(frozen=True)
class DepthwiseConvolution:
    """Kernels over each window of each channel by itself, and activation.

    Shapes: x (batch, height, width, channels), kernel (kernel rows, kernel columns, channels,
    multiplier), bias (channels * multiplier,) -> y (batch, window rows, window columns, channels *
    multiplier).
    """

    kernel: Array
    ending: Ending
    spec: DepthwiseConv2DSpec

    @classmethod
    def build(cls, spec: DepthwiseConv2DSpec, number: int, parameters: Parameters) -> Layer:
        ending = Ending(parameters.get("bias"), spec.activation)
        return cls(parameters["kernel"], ending, spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        wants_dx = tape.wants_dx
        z, spread_back = _spread(x, self.kernel, self.spec.windows(x.shape[1:]), tape)
        y, end_back = self.ending.apply(z, tape)

        def backward(dy: Array) -> Array:
            dx = spread_back(end_back(dy), wants_dx)
            return dy if dx is None else dx

        return y, backward


@dataclass(frozen=True)
class SeparableConvolution:
    """A depthwise convolution, then a dense map of the channels at each place, and activation.

    Shapes: x (batch, height, width, channels), depthwise (kernel rows, kernel columns, channels,
    multiplier), pointwise (1, 1, channels * multiplier, filters), bias (filters,) -> y (batch,
    window rows, window columns, filters).
    """

    depthwise: Array
    pointwise: Dense
    spec: SeparableConv2DSpec

    @classmethod
    def build(cls, spec: SeparableConv2DSpec, number: int, parameters: Parameters) -> Layer:
        pointwise = Dense(parameters["pointwise_kernel"], parameters.get("bias"), spec.activation)
        return cls(parameters["depthwise_kernel"], pointwise, spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        wants_dx = tape.wants_dx
        z, spread_back = _spread(x, self.depthwise, self.spec.windows(x.shape[1:]), tape)
        tape.wants_dx = True  # of the pointwise map: the kernel before it learns
        y, mix_back = self.pointwise.forward(z, tape)

        def backward(dy: Array) -> Array:
            dx = spread_back(mix_back(dy), wants_dx)
            return dy if dx is None else dx

        return y, backward


def _spread(
    x: Array, kernel: Array, windows: Windows, tape: Tape
) -> tuple[Array, Callable[[Array, bool], Array | None]]:
    """Convolve each channel by itself; the backward says whether it shall give the inputs'."""
    scratch = _scratch(kernel, windows, tape)
    z = tape.empty((len(x), *scratch.tap.shape[1:]))
    kernels.depthwise(x, kernel, windows, z, scratch)

    def backward(dz: Array, wants_dx: bool) -> Array | None:
        tape.gradient(kernel).add_written(
            lambda slope: kernels.depthwise_slope(x, dz, windows, slope, scratch)
        )
        if not wants_dx:
            return None
        dx = tape.empty(x.shape)
        kernels.depthwise_backward(dz, kernel, windows, dx, scratch)
        return dx

    return z, backward


def _scratch(kernel: Array, windows: Windows, tape: Tape) -> kernels.DepthwiseScratch:
    channels, multiplier = kernel.shape[-2:]
    wide, columns = channels * multiplier, windows.columns
    size = windows.depthwise_rows(wide)
    shape = (size, windows.rows.padded, columns.padded, channels, multiplier)
    return kernels.DepthwiseScratch(
        tape.empty((windows.size, columns.windows, wide)),
        tape.empty((size, windows.rows.windows, columns.windows, wide)),
        tape.empty(shape) if multiplier > 1 or windows.padded_cells else None,
    )
