"""Pooling: one number for each window, or for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import (
        AvgPool2DSpec,
        GlobalAvgPool2DSpec,
        GlobalMaxPool1DSpec,
        MaxPool1DSpec,
        MaxPool2DSpec,
    )
    from chainrule.tape import Array, Backward, Tape

__all__ = ["AvgPool", "GlobalAvgPool", "GlobalMaxPool", "MaxPool"]


@dataclass(frozen=True)
class MaxPool:
    """The largest cell of each window; a sequence is an image of one row.

    Shapes: x (batch, height, width, channels) -> y (batch, window rows, window columns, channels);
    of a sequence the same without height and rows.
    """

    spec: MaxPool1DSpec | MaxPool2DSpec

    @classmethod
    def build(
        cls, spec: MaxPool1DSpec | MaxPool2DSpec, number: int, parameters: Parameters
    ) -> Layer:
        return cls(spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        windows = self.spec.windows(x.shape[1:])
        images = x.reshape(len(x), windows.rows.size, windows.columns.size, -1)
        shape = (len(x), windows.rows.windows, windows.columns.windows, x.shape[-1])
        y, place = tape.empty(shape), tape.empty(shape, f"uint{8 * windows.place_bytes}")
        kernels.max_pool(images, windows, y, place)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            dx = tape.empty(x.shape)
            kernels.max_pool_backward(dy.reshape(shape), windows, place, dx.reshape(images.shape))
            return dx

        return y.reshape(len(x), *self.spec.output_shape(x.shape[1:])), backward


@dataclass(frozen=True)
class AvgPool:
    """The mean of each window's real cells.

    Shapes: x (batch, height, width, channels) -> y (batch, window rows, window columns, channels).
    """

    spec: AvgPool2DSpec

    @classmethod
    def build(cls, spec: AvgPool2DSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        windows = self.spec.windows(x.shape[1:])
        y = tape.empty((len(x), *self.spec.output_shape(x.shape[1:])))
        kernels.avg_pool(x, windows, y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            scaled, dx = tape.empty(y.shape), tape.empty(x.shape)
            kernels.avg_pool_backward(dy, windows, dx, scaled)
            return dx

        return y, backward


@dataclass(frozen=True)
class GlobalAvgPool:
    """The mean of each channel.

    Shapes: x (batch, height, width, channels) -> y (batch, channels), or (batch, 1, 1, channels).
    """

    keepdims: bool

    @classmethod
    def build(cls, spec: GlobalAvgPool2DSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.keepdims)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        batch, height, width, channels = x.shape
        cells = x.reshape(batch, height * width, channels)
        y, share = tape.empty((batch, channels)), 1.0 / (height * width)
        kernels.middle_sums(cells, y)
        kernels.multiply(y, share, y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            dx = tape.empty(x.shape)
            kernels.multiply(dy.reshape(batch, 1, channels), share, dx.reshape(cells.shape))
            return dx

        return (y.reshape(batch, 1, 1, channels) if self.keepdims else y), backward


@dataclass(frozen=True)
class GlobalMaxPool:
    """The largest number of each channel; the first of equals gets the gradient.

    Shapes: x (batch, steps, channels) -> y (batch, channels), or (batch, 1, channels).
    """

    keepdims: bool

    @classmethod
    def build(cls, spec: GlobalMaxPool1DSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.keepdims)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        y = tape.empty((len(x), x.shape[-1]))
        kernels.global_max(x, y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            equal, dx = tape.empty(x.shape, "bool"), tape.empty(x.shape)
            kernels.global_max_backward(x, y, dy.reshape(y.shape), dx, equal)
            return dx

        return (y[:, None] if self.keepdims else y), backward
