"""Layers that walk along a sequence, as ONNX's RNN, LSTM and GRU, which want the steps first.

A masked step leaves the state as it is: a walk over the steps that count, moved to the front, is
the same walk. So ONNX's ``sequence_lens`` serves any mask, and each step's output is then fetched
from where it was moved to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.export.writer import BOOL, INT32, INT64

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
# The order of the gates in ONNX by their places in Keras: an lstm's i f c o is i o f c there.
_GATES = {"simple_rnn": [0], "lstm": [0, 3, 1, 2], "gru": [0, 1, 2]}


@dataclass
class _Moved:
    """A sequence with the steps that count in front: how many, and where each step has gone."""

    sequence: str  # (batch, steps, features)
    lengths: str  # (batch,), at least 1 each: no reader need take an empty sequence
    any_counts: str  # (batch, 1), whether there is one
    ranks: str  # (batch, steps), how many steps that count come before each
    counts: str  # (batch, steps), 1 for a step that counts


def _recurrent(layer: Layer, x: str) -> str:
    spec = layer.spec
    y = _walk(layer, spec, "", x, backwards=spec.go_backwards)
    if not (spec.go_backwards and spec.return_sequences):
        return y
    if layer.mask is not None:
        layer.mask = _turned(layer, layer.mask)
    return _turned(layer, y)


def _bidirectional(layer: Layer, x: str) -> str:
    one = layer.spec.layer
    ahead = _walk(layer, one, "forward.", x, backwards=False)
    back = _walk(layer, one, "backward.", x, backwards=True)
    if one.return_sequences and layer.mask is not None:  # padding puts out zeros here
        known = layer.op("Unsqueeze", layer.mask, layer.constant([2], "int64"))
        ahead, back = (_where(layer, known, y) for y in (ahead, back))
    match layer.spec.merge_mode:
        case "concat":
            return str(layer.op("Concat", ahead, back, axis=-1))
        case "mul":
            return str(layer.op("Mul", ahead, back))
        case "ave":
            return str(layer.op("Mul", layer.op("Add", ahead, back), layer.constant(0.5)))
        case _:
            return str(layer.op("Add", ahead, back))


def _walk(layer: Layer, spec: Any, way: str, x: str, *, backwards: bool) -> str:
    """Run a recurrent layer; the outputs stay in the order of the steps, either way round."""
    moved = _move(layer, x) if layer.mask is not None else None
    sequence, lengths = (x, "") if moved is None else (moved.sequence, moved.lengths)
    given = [layer.op("Transpose", sequence, perm=[1, 0, 2]), *_tensors(layer, spec, way), lengths]
    how = {"hidden_size": spec.units, "direction": "reverse" if backwards else "forward"}
    if spec.kind == "gru":
        how["linear_before_reset"] = int(spec.reset_after)
    kind = {"simple_rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}[spec.kind]
    while not given[-1]:
        given.pop()
    ys, last = layer.op(kind, *given, outputs=2, **how, **_functions(layer, spec))
    if spec.return_sequences:  # (steps, 1, batch, units)
        y = layer.op("Transpose", ys, perm=[2, 0, 1, 3])
        y = layer.reshape(y, (layer.node.input_shape[0], spec.units))
        return y if moved is None else _moved_back(layer, y, moved, backwards=backwards)
    y = layer.op("Squeeze", last, layer.constant([0], "int64"))
    return y if moved is None else _where(layer, moved.any_counts, y)


def _tensors(layer: Layer, spec: Any, way: str) -> list[str]:
    """Return kernel, recurrent kernel and biases, gates in ONNX's order, one direction."""

    def gates(tensor: Array) -> Array:
        """Turn (..., gates * units) to (1, gates * units, ...)."""
        blocks = np.split(tensor, len(_GATES[spec.kind]), axis=-1)
        ordered = np.concatenate([blocks[place] for place in _GATES[spec.kind]], axis=-1)
        return np.moveaxis(ordered, -1, 0)[np.newaxis]

    names = [layer.weight(f"{way}{name}", gates) for name in ("kernel", "recurrent_kernel")]
    if not spec.use_bias:
        return [*names, ""]
    bias = layer.own[f"{way}bias"]
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    ordered = np.concatenate([gates(one) for one in both], axis=-1)
    return [*names, layer.derived(f"{way}bias", ordered)]


def _functions(layer: Layer, spec: Any) -> dict[str, list[Any]]:
    """Return the activations.  Raises: SpecError, if ONNX's layer does not have one."""
    names = [spec.activation]
    if spec.kind != "simple_rnn":
        names = [spec.recurrent_activation, *names]
    if spec.kind == "lstm":
        names.append(spec.activation)  # of the candidate and of the cell
    for name in names:
        if name not in _ACTIVATIONS:
            detail = f"ONNX's {spec.kind} has no {name} (layer {layer.node.name!r})"
            raise SpecError.at(f"layers[{layer.node.index}].activation", detail)
    functions = [_ACTIVATIONS[name] for name in names]
    found: dict[str, list[Any]] = {
        "activations": [name for name, _, _ in functions],
        "activation_alpha": [value for _, alpha, _ in functions for value in alpha],
        "activation_beta": [value for _, _, beta in functions for value in beta],
    }
    return {name: values for name, values in found.items() if values}


def _move(layer: Layer, x: str) -> _Moved:
    """Bring the steps that count to the front, in their order."""
    steps = layer.node.input_shape[0]
    one, second = layer.constant([1], "int64"), layer.constant([1], "int64")
    counts = layer.op("Cast", layer.mask or "", to=INT64)
    total = layer.op("ReduceSum", counts, second, keepdims=1)
    lengths = layer.op("Squeeze", layer.op("Max", total, one), second)
    axis = layer.constant(1, "int64")
    ranks = layer.op("CumSum", counts, axis, exclusive=1)
    # Largest first: a step that counts has steps - t > 0, padding has -t.
    weighed = layer.op("Mul", counts, layer.constant(steps, "int64"))
    key = layer.op("Sub", weighed, layer.constant(np.arange(steps), "int64"))
    _, order = layer.op("TopK", key, layer.constant([steps], "int64"), outputs=2, axis=1)
    return _Moved(
        _fetch(layer, x, order),
        layer.op("Cast", lengths, to=INT32),
        layer.op("Greater", total, layer.constant(0, "int64")),
        ranks,
        counts,
    )


def _moved_back(layer: Layer, y: str, moved: _Moved, *, backwards: bool) -> str:
    """Give each step its output; padding repeats that of the step walked before, or is zero."""
    if backwards:  # the next step that counts, in order of time
        place = moved.ranks
        total = layer.op("Cast", moved.lengths, to=INT64)
        known = layer.op("Less", place, layer.op("Unsqueeze", total, layer.constant([1], "int64")))
        known = layer.op("And", known, moved.any_counts)
        last = layer.node.input_shape[0] - 1
        place = layer.op("Min", place, layer.constant(last, "int64"))
    else:
        place = layer.op("Sub", layer.op("Add", moved.ranks, moved.counts), _one(layer))
        known = layer.op("GreaterOrEqual", place, layer.constant(0, "int64"))
        place = layer.op("Max", place, layer.constant(0, "int64"))
    known = layer.op("Unsqueeze", known, layer.constant([2], "int64"))
    return _where(layer, known, _fetch(layer, y, place))


def _fetch(layer: Layer, x: str, places: str) -> str:
    """Return the steps at places.  Shapes: x (batch, steps, n), places (batch, steps)."""
    places = layer.op("Unsqueeze", places, layer.constant([2], "int64"))
    return str(layer.op("GatherND", x, places, batch_dims=1))


def _where(layer: Layer, condition: str, x: str) -> str:
    return str(layer.op("Where", condition, x, layer.constant(0.0)))


def _one(layer: Layer) -> str:
    return layer.constant(1, "int64")


def _turned(layer: Layer, x: str) -> str:
    """Reverse the order of the steps."""
    bounds = [layer.constant([value], "int64") for value in (-1, -(2**31), 1, -1)]
    return str(layer.op("Slice", x, *bounds))


def _masking(layer: Layer, x: str) -> str:
    value = layer.constant(layer.spec.mask_value)
    same = layer.op("Cast", layer.op("Equal", x, value), to=INT32)
    all_same = layer.op("ReduceMin", same, axes=[-1], keepdims=1)
    padding = layer.op("Cast", all_same, to=BOOL)
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
