"""Larger images: cells repeated, or interpolated between their centres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.spec.layers.sliding import couple

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import UpSampling2DSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["UpSampling"]


@dataclass(frozen=True)
class UpSampling:
    """Each cell as a block of cells.

    Shapes: x (batch, height, width, channels) -> y (batch, height * rows, width * columns,
    channels).
    """

    rows: int
    columns: int
    interpolation: str

    @classmethod
    def build(cls, spec: UpSampling2DSpec, number: int, parameters: Parameters) -> Layer:
        return cls(*couple(spec.size), spec.interpolation)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        if self.interpolation == "bilinear":
            return self._bilinear(x, tape)
        batch, height, width, channels = x.shape
        y = tape.empty((batch, height, self.rows, width, self.columns, channels))
        kernels.copy(x[:, :, None, :, None], y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            dx, blocks = tape.empty(x.shape), dy.reshape(y.shape)
            kernels.fill(dx, 0.0)
            for i in range(self.rows):
                for j in range(self.columns):
                    kernels.add(dx, blocks[:, :, i, :, j], dx)
            return dx

        return y.reshape(batch, height * self.rows, width * self.columns, channels), backward

    def _bilinear(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        """Interpolate along the rows, then along the columns: a matrix product each."""
        batch, height, width, channels = x.shape
        down = _stretch(height, self.rows).astype(tape.dtype)
        across = _stretch(width, self.columns).astype(tape.dtype)
        tall = tape.empty((batch, len(down), width * channels))
        np.matmul(down, x.reshape(batch, height, -1), out=tall)
        y = tape.empty((batch, len(down), len(across), channels))
        np.matmul(across, tall.reshape(batch, len(down), width, channels), out=y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            narrow, dx = tape.empty((batch, len(down), width, channels)), tape.empty(x.shape)
            np.matmul(across.T, dy, out=narrow)
            rows = narrow.reshape(batch, len(down), -1)
            np.matmul(down.T, rows, out=dx.reshape(batch, height, -1))
            return dx

        return y, backward


@lru_cache(maxsize=64)
def _stretch(size: int, times: int) -> Array:
    """Return the matrix that interpolates cells at the centres of finer ones.

    Beyond the first and last centre the edge's own value holds.  Shape: (size * times, size).
    """
    centres = np.clip((np.arange(size * times) + 0.5) / times - 0.5, 0.0, size - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(centres[:, None] - np.arange(size)))
