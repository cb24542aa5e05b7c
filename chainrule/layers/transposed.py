"""The transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.activation import Ending

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import Conv2DTransposeSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["TransposedConvolution"]


@dataclass(frozen=True)
class TransposedConvolution:
    """Add each cell's kernel to its window of a larger image, and activation.

    The windows lie over the output: forward does what a convolution does backward.
    Shapes: x (batch, height, width, channels), kernel (kernel rows, kernel columns, filters,
    channels), bias (filters,) -> y (batch, *output_shape).
    """

    kernel: Array
    ending: Ending
    spec: Conv2DTransposeSpec

    @classmethod
    def build(cls, spec: Conv2DTransposeSpec, number: int, parameters: Parameters) -> Layer:
        ending = Ending(parameters.get("bias"), spec.activation)
        return cls(parameters["kernel"], ending, spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        filters, channels = self.kernel.shape[-2:]
        windows = self.spec.windows(x.shape[1:])
        work = tape.empty((windows.work(filters, channels),))
        z = tape.empty((len(x), windows.rows.size, windows.columns.size, filters))
        kernels.convolve_input_gradient(x, self.kernel, windows, z, work)
        y, end_back = self.ending.apply(z, tape)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = end_back(dy)
            tape.gradient(self.kernel).add_written(
                lambda slope: kernels.convolve_kernel_gradient(dz, x, windows, slope, work)
            )
            if not wants_dx:
                return dy
            dx = tape.empty(x.shape)
            kernels.convolve(dz, self.kernel, windows, dx, work)
            return dx

        return y, backward
