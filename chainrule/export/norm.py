"""Layers that normalise, as ONNX operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.export.writer import Layer

__all__ = ["CONVERTERS"]


def _batch_norm(layer: Layer, x: str) -> str:
    shape = layer.node.input_shape
    gamma, beta = _scale_and_shift(layer, shape[-1:])
    mean, variance = layer.weight("moving_mean"), layer.weight("moving_variance")
    images = len(shape) > 1  # ONNX wants the channels second
    given = layer.channels_first(x) if images else x
    epsilon = layer.spec.epsilon
    y = layer.op("BatchNormalization", given, gamma, beta, mean, variance, epsilon=epsilon)
    return layer.channels_last(y) if images else str(y)


def _layer_norm(layer: Layer, x: str) -> str:
    normalized = layer.spec.normalized(layer.node.input_shape)
    gamma, beta = _scale_and_shift(layer, normalized)
    norm = {"axis": -len(normalized), "epsilon": layer.spec.epsilon}
    return str(layer.op("LayerNormalization", x, gamma, beta, **norm))


def _scale_and_shift(layer: Layer, shape: tuple[int, ...]) -> tuple[str, str]:
    """Return gamma and beta: ONNX wants both, so one that is left out is ones or zeros."""
    found = []
    for name, nothing in (("gamma", np.ones), ("beta", np.zeros)):
        if name in layer.own:
            found.append(layer.weight(name))
        else:  # one that shares the layer may be of another shape
            found.append(layer.derived("_".join([name, *map(str, shape)]), nothing(shape)))
    return found[0], found[1]


CONVERTERS: dict[str, Callable[..., str]] = {
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
}
