"""Layers that walk along a sequence, as ONNX's RNN, LSTM and GRU, which want the steps first.

Those know no mask and not every activation: what they do not know is written step by step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.export.steps import walk_steps
from chainrule.export.writer import BOOL, INT32

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.export.writer import Layer
    from chainrule.kernels import Array

__all__ = ["CONVERTERS"]

# ONNX's names of activations, and their alpha and beta; ``linear`` is 1 x + 0.
_ACTIVATIONS: dict[str, tuple[str, list[float], list[float]]] = {
    "elu": ("Elu", [1.0], []),
    "leaky_relu": ("LeakyRelu", [0.2], []),
    "linear": ("Affine", [1.0], [0.0]),
    "relu": ("Relu", [], []),
    "sigmoid": ("Sigmoid", [], []),
    "softplus": ("Softplus", [], []),
    "tanh": ("Tanh", [], []),
}
_KINDS = {"simple_rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
# The order of the gates in ONNX by their places in Keras: an lstm's i f c o is i o f c there.
_GATES = {"simple_rnn": [0], "lstm": [0, 3, 1, 2], "gru": [0, 1, 2]}


def _recurrent(layer: Layer, x: str) -> str:
    spec = layer.spec
    return _as_run(layer, spec, _walk(layer, spec, "", x, backwards=spec.go_backwards))


def _bidirectional(layer: Layer, x: str) -> str:
    one = layer.spec.layer
    along = _walk(layer, one, "forward.", x, backwards=one.go_backwards)
    against = _walk(layer, one, "backward.", x, backwards=not one.go_backwards)
    if one.return_sequences and layer.mask is not None:  # padding puts out zeros here
        counts = layer.op("Unsqueeze", layer.mask, layer.constant([2], "int64"))
        zero = layer.constant(0.0)
        along, against = (layer.op("Where", counts, y, zero) for y in (along, against))
    return _as_run(layer, one, _merged(layer, along, against))


def _merged(layer: Layer, along: str, against: str) -> str:
    match layer.spec.merge_mode:
        case "concat":
            return str(layer.op("Concat", along, against, axis=-1))
        case "mul":
            return str(layer.op("Mul", along, against))
        case "ave":
            return str(layer.op("Mul", layer.op("Add", along, against), layer.constant(0.5)))
        case _:
            return str(layer.op("Add", along, against))


def _as_run(layer: Layer, spec: Any, y: str) -> str:
    """Put outputs, and mask, in the order in which the layer runs through the steps."""
    if not (spec.go_backwards and spec.return_sequences):
        return y
    if layer.mask is not None:
        layer.mask = _turned(layer, layer.mask)
    return _turned(layer, y)


def _walk(layer: Layer, spec: Any, way: str, x: str, *, backwards: bool) -> str:
    """Run a recurrent layer; the outputs stay in the order of the steps, either way round."""
    functions = _functions(spec)
    if layer.mask is not None or not set(functions) <= set(_ACTIVATIONS):
        return walk_steps(layer, spec, way, x, backwards=backwards)
    how: dict[str, Any] = {
        "hidden_size": spec.units,
        "direction": "reverse" if backwards else "forward",
        "activations": [_ACTIVATIONS[name][0] for name in functions],
        "activation_alpha": [value for name in functions for value in _ACTIVATIONS[name][1]],
        "activation_beta": [value for name in functions for value in _ACTIVATIONS[name][2]],
    }
    if spec.kind == "gru":
        how["linear_before_reset"] = int(spec.reset_after)
    how = {name: value for name, value in how.items() if value != []}
    given = layer.op("Transpose", x, perm=[1, 0, 2]), *_tensors(layer, spec, way)
    ys, last = layer.op(_KINDS[spec.kind], *given, outputs=2, **how)
    if not spec.return_sequences:
        return str(layer.op("Squeeze", last, layer.constant([0], "int64")))
    y = layer.op("Transpose", ys, perm=[2, 0, 1, 3])  # from (steps, 1, batch, units)
    return layer.reshape(y, (layer.node.input_shape[0], spec.units))


def _functions(spec: Any) -> list[str]:
    """Return the activations as ONNX lists them: the gates', the candidate's, the cell's."""
    if spec.kind == "simple_rnn":
        return [spec.activation]
    return [spec.recurrent_activation, *[spec.activation] * (2 if spec.kind == "lstm" else 1)]


def _tensors(layer: Layer, spec: Any, way: str) -> list[str]:
    """Return kernel, recurrent kernel and biases, gates in ONNX's order, one direction."""

    def gates(tensor: Array) -> Array:
        """Turn (..., gates * units) to (1, gates * units, ...)."""
        blocks = np.split(tensor, len(_GATES[spec.kind]), axis=-1)
        ordered = np.concatenate([blocks[place] for place in _GATES[spec.kind]], axis=-1)
        return np.moveaxis(ordered, -1, 0)[np.newaxis]

    names = [f"{way}kernel", f"{way}recurrent_kernel"]
    found = [layer.derived(f"{name}.gates", gates(layer.own[name])) for name in names]
    if not spec.use_bias:
        return found
    bias = layer.own[f"{way}bias"]
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    ordered = np.concatenate([gates(one) for one in both], axis=-1)
    return [*found, layer.derived(f"{way}bias.gates", ordered)]


def _turned(layer: Layer, x: str) -> str:
    """Reverse the order of the steps."""
    bounds = [layer.constant([value], "int64") for value in (-1, -(2**31), 1, -1)]
    return str(layer.op("Slice", x, *bounds))


def _masking(layer: Layer, x: str) -> str:
    value = layer.constant(layer.spec.mask_value)
    same = layer.op("Cast", layer.op("Equal", x, value), to=INT32)
    padding = layer.op("Cast", layer.op("ReduceMin", same, axes=[-1], keepdims=1), to=BOOL)
    layer.mask = layer.op("Not", layer.op("Squeeze", padding, layer.constant([-1], "int64")))
    return str(layer.op("Where", padding, layer.constant(0.0), x))


def _repeat_vector(layer: Layer, x: str) -> str:
    one = layer.op("Unsqueeze", x, layer.constant([1], "int64"))
    return str(layer.op("Expand", one, layer.constant([1, layer.spec.n, 1], "int64")))


CONVERTERS: dict[str, Callable[..., str]] = {
    "bidirectional": _bidirectional,
    "gru": _recurrent,
    "lstm": _recurrent,
    "masking": _masking,
    "repeat_vector": _repeat_vector,
    "simple_rnn": _recurrent,
}
