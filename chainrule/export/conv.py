"""Convolutions and pooling as ONNX operators, which want the channels second: (batch, c, h, w).

A sequence is (batch, c, steps) there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.export.core import activate

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.export.writer import Layer
    from chainrule.kernels import Array

__all__ = ["CONVERTERS"]


def _axes(layer: Layer) -> list[Any]:
    """Return how windows lie along the axes: one of a sequence, two of an image."""
    windows = layer.spec.windows(layer.node.input_shape)
    image = len(layer.node.input_shape) == 3
    return [windows.rows, windows.columns] if image else [windows.columns]


def _sliding(layer: Layer, *, dilations: bool = False) -> dict[str, Any]:
    """Return the attributes that all sliding windows have, and those of a convolution."""
    axes = _axes(layer)
    more = {"dilations": [axis.dilation for axis in axes]} if dilations else {}
    return {
        **more,
        "kernel_shape": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        "pads": [axis.before for axis in axes] + [axis.after for axis in axes],
    }


def _out_in(kernel: Array) -> Array:
    """Turn (..., in, out) to (out, in, ...)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _each_channel(kernel: Array) -> Array:
    """Turn (..., in, multiplier) to (in * multiplier, 1, ...): a group for each channel."""
    flat = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return np.moveaxis(flat, (-1, -2), (0, 1))


def _ended(layer: Layer, y: str) -> str:
    """Activate, and put the channels last again, where softmax wants them."""
    activation = layer.spec.activation
    if activation == "softmax":
        return activate(layer, activation, layer.channels_last(y))
    return layer.channels_last(activate(layer, activation, y))


def _bias(layer: Layer) -> list[str]:
    return [layer.weight("bias")] if layer.spec.use_bias else []


def _conv(layer: Layer, x: str) -> str:
    how = _sliding(layer, dilations=True)
    given = (layer.channels_first(x), layer.weight("kernel", _out_in), *_bias(layer))
    return _ended(layer, layer.op("Conv", *given, **how, group=layer.spec.groups))


def _depthwise(layer: Layer, x: str, name: str = "kernel", *bias: str) -> str:
    how = _sliding(layer, dilations=True)
    given = (layer.channels_first(x), layer.weight(name, _each_channel), *bias)
    return str(layer.op("Conv", *given, **how, group=layer.node.input_shape[-1]))


def _depthwise_conv(layer: Layer, x: str) -> str:
    return _ended(layer, _depthwise(layer, x, "kernel", *_bias(layer)))


def _separable_conv(layer: Layer, x: str) -> str:
    depthwise = _depthwise(layer, x, "depthwise_kernel")
    pointwise = layer.weight("pointwise_kernel", _out_in)
    return _ended(layer, layer.op("Conv", depthwise, pointwise, *_bias(layer)))


def _conv_transpose(layer: Layer, x: str) -> str:
    axes = _axes(layer)  # of the output: a window for each cell of the input
    covered = [
        (axis.windows - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1 for axis in axes
    ]
    left = [axis.padded - cells for axis, cells in zip(axes, covered, strict=True)]
    how = {**_sliding(layer, dilations=True), "output_padding": left}
    given = (layer.channels_first(x), layer.weight("kernel", _out_in), *_bias(layer))
    return _ended(layer, layer.op("ConvTranspose", *given, **how))


def _up_sampling(layer: Layer, x: str) -> str:
    scales = layer.constant([1, 1, *np.broadcast_to(layer.spec.size, 2)])
    how = _RESIZE[getattr(layer.spec, "interpolation", "nearest")]
    return layer.channels_last(layer.op("Resize", layer.channels_first(x), "", scales, **how))


_RESIZE: dict[str, dict[str, Any]] = {
    "bilinear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
}


def _pool(kind: str, **more: int) -> Callable[..., str]:
    """Write a pooling; padding never counts in it."""

    def convert(layer: Layer, x: str) -> str:
        y = layer.op(kind, layer.channels_first(x), **_sliding(layer), **more)
        return layer.channels_last(y)

    return convert


def _reduce(kind: str) -> Callable[..., str]:
    """Write a pooling over all positions."""

    def convert(layer: Layer, x: str) -> str:
        axes = list(range(1, len(layer.node.input_shape)))
        return str(layer.op(kind, x, axes=axes, keepdims=int(layer.spec.keepdims)))

    return convert


CONVERTERS: dict[str, Callable[..., str]] = {
    "avg_pool2d": _pool("AveragePool", count_include_pad=0),
    "conv1d": _conv,
    "conv2d": _conv,
    "conv2d_transpose": _conv_transpose,
    "depthwise_conv2d": _depthwise_conv,
    "global_avg_pool2d": _reduce("ReduceMean"),
    "global_max_pool1d": _reduce("ReduceMax"),
    "max_pool1d": _pool("MaxPool"),
    "max_pool2d": _pool("MaxPool"),
    "separable_conv2d": _separable_conv,
    "up_sampling2d": _up_sampling,
}
