"""The transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.layers.activation import activate
from chainrule.layers.patches import Patches, accumulate

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
    bias: Array | None
    spec: Conv2DTransposeSpec

    @classmethod
    def build(cls, spec: Conv2DTransposeSpec, number: int, parameters: Parameters) -> Layer:
        return cls(parameters["kernel"], parameters.get("bias"), spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        filters, channels = self.kernel.shape[-2:]
        windows = self.spec.windows(x.shape[1:])
        patches = Patches.take(windows, filters, tape)
        flat = x.reshape(len(x), -1, channels)
        z = self._spread(patches, flat, tape)
        y, deactivate = activate(self.spec.activation, z, self.bias, tape, own=True)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = deactivate(dy)
            if self.bias is not None:
                tape.gradient(self.bias).add_sum(dz)
            dx = tape.empty(flat.shape) if wants_dx else None
            self._collect(patches, flat, dz, dx, tape)
            return dy if dx is None else dx.reshape(x.shape)

        return y, backward

    def _spread(self, patches: Patches, flat: Array, tape: Tape) -> Array:
        """Return the sum of all windows' kernels."""
        filters, channels = self.kernel.shape[-2:]
        weights, windows = self.kernel.reshape(-1, channels), patches.windows
        z = tape.empty((len(flat), windows.rows.size, windows.columns.size, filters))
        z.fill(0.0)
        for rows in patches.blocks(len(flat)):
            patches.add(flat[rows].reshape(-1, channels), weights, z[rows])
        return z

    def _collect(
        self, patches: Patches, flat: Array, dz: Array, dx: Array | None, tape: Tape
    ) -> None:
        """Add the kernel's gradient, and write the cells'."""
        weights = self.kernel.reshape(-1, self.kernel.shape[-1])
        total, part = tape.empty(weights.shape), tape.empty(weights.shape)
        for rows in patches.blocks(len(flat)):
            cols, cells = patches.columns(dz[rows]), flat[rows].reshape(-1, weights.shape[-1])
            accumulate(cols.T, cells, total, part, first=rows.start == 0)
            if dx is not None:
                np.matmul(cols, weights, out=dx[rows].reshape(cells.shape))
        tape.gradient(self.kernel).add(total.reshape(self.kernel.shape))
