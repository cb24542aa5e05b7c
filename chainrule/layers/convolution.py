"""Convolutions of sequences and images, and their transpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.layers.activation import activate
from chainrule.layers.dense import Dense
from chainrule.layers.patches import Patches, accumulate

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
    bias: Array | None
    spec: Conv1DSpec | Conv2DSpec

    @classmethod
    def build(cls, spec: Conv1DSpec | Conv2DSpec, number: int, parameters: Parameters) -> Layer:
        return cls(parameters["kernel"], parameters.get("bias"), spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        shape = self.spec.output_shape(x.shape[1:])
        windows = self.spec.windows(x.shape[1:])
        if windows.is_identity and self.spec.groups == 1:
            return Dense(self.kernel, self.bias, self.spec.activation).forward(x, tape)
        filters, channels = self.kernel.shape[-1], self.kernel.shape[-2]
        weights = self.kernel.reshape(-1, filters)
        images = x.reshape(-1, windows.rows.size, windows.columns.size, x.shape[-1])
        patches = Patches.take(windows, channels, tape)
        z = tape.empty((len(x), windows.count, filters))
        for rows in patches.blocks(len(x)):
            for into, out in self._groups:
                cols = patches.columns(images[rows, :, :, into])
                np.matmul(cols, weights[:, out], out=z[rows].reshape(-1, filters)[:, out])
        y, deactivate = activate(self.spec.activation, z, self.bias, tape, own=True)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = deactivate(dy.reshape(z.shape))
            if self.bias is not None:
                tape.gradient(self.bias).add_sum(dz)
            self._learn(patches, images, dz, tape)
            if not wants_dx:
                return dy
            return self._spread(patches, dz, images.shape, tape).reshape(x.shape)

        return y.reshape(len(x), *shape), backward

    @property
    def _groups(self) -> list[tuple[slice, slice]]:
        """Each group's channels of the input and of the output."""
        channels, filters = self.kernel.shape[-2], self.kernel.shape[-1] // self.spec.groups
        return [
            (slice(g * channels, (g + 1) * channels), slice(g * filters, (g + 1) * filters))
            for g in range(self.spec.groups)
        ]

    def _learn(self, patches: Patches, images: Array, dz: Array, tape: Tape) -> None:
        """Add the kernel's gradient, the sum of each block's."""
        size = (self.kernel[..., 0].size, self.kernel.shape[-1])
        total, part = tape.empty(size), tape.empty(size)
        for rows in patches.blocks(len(images)):
            flat = dz[rows].reshape(-1, size[-1])
            for into, out in self._groups:
                cols = patches.columns(images[rows, :, :, into]).T
                first = rows.start == 0
                accumulate(cols, flat[:, out], total[:, out], part[:, out], first=first)
        tape.gradient(self.kernel).add(total.reshape(self.kernel.shape))

    def _spread(self, patches: Patches, dz: Array, shape: tuple[int, ...], tape: Tape) -> Array:
        """Return the gradient in the images."""
        dx = tape.empty(shape)
        dx.fill(0.0)
        weights = self.kernel.reshape(-1, self.kernel.shape[-1])
        for rows in patches.blocks(len(dz)):
            flat = dz[rows].reshape(-1, weights.shape[-1])
            for into, out in self._groups:
                patches.add(flat[:, out], weights[:, out], dx[rows, :, :, into])
        return dx
