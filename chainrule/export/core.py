"""Layers of no particular shape, and those that join several, as ONNX operators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.export.writer import Layer

__all__ = ["CONVERTERS", "activate"]


def activate(layer: Layer, name: str, x: str) -> str:
    """Write an activation by its name, with Keras's constants."""
    match name:
        case "linear":
            return x
        case "leaky_relu":
            y = layer.op("LeakyRelu", x, alpha=0.2)
        case "elu":
            y = layer.op("Elu", x, alpha=1.0)
        case "gelu":  # x/2 (1 + erf(x / sqrt 2)): ONNX has Gelu itself only from opset 20
            erf = layer.op("Erf", layer.op("Div", x, layer.constant(math.sqrt(2.0))))
            half = layer.op("Mul", x, layer.constant(0.5))
            y = layer.op("Mul", half, layer.op("Add", erf, layer.constant(1.0)))
        case "swish":
            y = layer.op("Mul", x, layer.op("Sigmoid", x))
        case "softmax":
            y = layer.op("Softmax", x, axis=-1)
        case _:
            y = layer.op(_PLAIN[name], x)
    return str(y)


_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus"}


def _dense(layer: Layer, x: str) -> str:
    y = layer.op("MatMul", x, layer.weight("kernel"))
    if layer.spec.use_bias:
        y = layer.op("Add", y, layer.weight("bias"))
    return activate(layer, layer.spec.activation, y)


def _activation(layer: Layer, x: str) -> str:
    name = layer.spec.activation
    if name == "softmax" or x not in layer.writer.first:
        return activate(layer, name, x)
    return layer.channels_last(activate(layer, name, layer.channels_first(x)))


def _same(layer: Layer, x: str) -> str:
    return x


def _reshape(layer: Layer, x: str) -> str:
    return layer.reshape(x, layer.node.output_shape)


def _folded(kind: str) -> Callable[..., str]:
    """Join any number of inputs by an operator of two."""

    def convert(layer: Layer, *xs: str) -> str:
        turned = all(x in layer.writer.first for x in xs)
        first, *others = map(layer.channels_first, xs) if turned else xs
        for x in others:
            first = layer.op(kind, first, x)
        return layer.channels_last(first) if turned else first

    return convert


def _concat(layer: Layer, *xs: str) -> str:
    return str(layer.op("Concat", *xs, axis=layer.spec.axis))


CONVERTERS: dict[str, Callable[..., str]] = {
    "activation": _activation,
    "add": _folded("Add"),
    "concat": _concat,
    "dense": _dense,
    "dropout": _same,
    "flatten": _reshape,
    "multiply": _folded("Mul"),
    "reshape": _reshape,
}
