"""Convolutions of sequences and images, and their transpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.activation import Ending

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import Conv1DSpec, Conv2DSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Convolution"]


@dataclass(frozen=True)
class Convolution:
    """A kernel over each window, and activation; a sequence is an image of one row.

    Shapes: x (batch, height, width, channels), kernel (kernel rows, kernel columns, channels of a
    group, filters), bias (filters,) -> y (batch, window rows, window columns, filters); of a
    sequence the same without height and rows.
    """

    kernel: Array
    ending: Ending
    spec: Conv1DSpec | Conv2DSpec

    @classmethod
    def build(cls, spec: Conv1DSpec | Conv2DSpec, number: int, parameters: Parameters) -> Layer:
        ending = Ending(parameters.get("bias"), spec.activation)
        return cls(parameters["kernel"], ending, spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        windows = self.spec.windows(x.shape[1:])
        rows, columns = windows.rows, windows.columns
        images = x.reshape(-1, rows.size, columns.size, x.shape[-1])
        kernel = self.kernel.reshape(rows.kernel, columns.kernel, *self.kernel.shape[-2:])
        channels, filters = kernel.shape[2:]
        work = tape.empty((windows.work(channels, filters, self.spec.groups),))
        z = tape.empty((len(x), rows.windows, columns.windows, filters))
        kernels.convolve(images, kernel, windows, z, work)
        y, end_back = self.ending.apply(z, tape)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = end_back(dy.reshape(z.shape))
            tape.gradient(self.kernel).add_written(
                lambda slope: kernels.convolve_kernel_gradient(
                    images, dz, windows, slope.reshape(kernel.shape), work
                )
            )
            if not wants_dx:
                return dy
            dx = tape.empty(images.shape)
            kernels.convolve_input_gradient(dz, kernel, windows, dx, work)
            return dx.reshape(x.shape)

        return y.reshape(len(x), *z.shape[5 - x.ndim :]), backward  # a sequence has no rows
