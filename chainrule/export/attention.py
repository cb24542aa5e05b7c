"""Learned vectors and attention as ONNX operators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.export.writer import INT64

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.export.writer import Layer

__all__ = ["CONVERTERS"]


def _embedding(layer: Layer, x: str) -> str:
    numbers = layer.op("Cast", x, to=INT64)
    if layer.spec.mask_zero:
        layer.mask = layer.op("Not", layer.op("Equal", numbers, layer.constant(0, "int64")))
    return str(layer.op("Gather", layer.weight("embeddings"), numbers, axis=0))


def _positional_embedding(layer: Layer, x: str) -> str:
    return str(layer.op("Add", x, layer.weight("position_embeddings")))


def _multi_head_attention(layer: Layer, *xs: str) -> str:
    query, value = xs[0], xs[min(1, len(xs) - 1)]
    key = xs[2] if len(xs) > 2 else value
    scale = layer.constant(1.0 / math.sqrt(layer.spec.key_dim))
    q = layer.op("Mul", _heads(layer, "query", query, 0, [0, 2, 1, 3]), scale)
    k = _heads(layer, "key", key, -1, [0, 2, 3, 1])
    scores = layer.op("MatMul", q, k)  # (batch, heads, queries, keys)
    hidden = _hidden(layer)
    for where in hidden:
        scores = layer.op("Where", where, layer.constant(_NEVER), scores)
    weights = layer.op("Softmax", scores, axis=-1)
    for where in hidden:  # matters where a row has nothing else
        weights = layer.op("Where", where, layer.constant(0.0), weights)
    v = _heads(layer, "value", value, min(1, len(xs) - 1), [0, 2, 1, 3])
    mixed = layer.op("Transpose", layer.op("MatMul", weights, v), perm=[0, 2, 1, 3])
    layer.mask = layer.source_masks[0]
    steps, _ = layer.node.output_shape
    flat = layer.reshape(mixed, (steps, layer.spec.num_heads * layer.spec.width))
    return _affine(layer, "attention_output", flat, inputs=2)


def _affine(layer: Layer, name: str, x: str, *, inputs: int) -> str:
    """Write an affine map whose kernel has ``inputs`` axes on the input's side."""
    kernel = layer.own[f"{name}.kernel"]
    matrix = kernel.reshape(math.prod(kernel.shape[:inputs]), -1)
    y = layer.op("MatMul", x, layer.derived(f"{name}.kernel", matrix))
    if layer.spec.use_bias:
        y = layer.op("Add", y, layer.weight(f"{name}.bias", np.ravel))
    return str(y)


def _heads(layer: Layer, name: str, x: str, place: int, perm: list[int]) -> str:
    """Project an input and cut it in heads: (batch, steps, heads, width), turned by ``perm``."""
    steps, _ = layer.node.input_shapes[place]
    heads, width = layer.own[f"{name}.kernel"].shape[1:]
    cut = layer.reshape(_affine(layer, name, x, inputs=1), (steps, heads, width))
    return str(layer.op("Transpose", cut, perm=perm))


def _hidden(layer: Layer) -> list[str]:
    """Return which scores must not count, each to be broadcast to all of them."""
    masks = layer.source_masks[1:] or layer.source_masks
    axes = layer.constant([1, 2], "int64")
    known = [mask for mask in masks if mask is not None]
    hidden = [layer.op("Unsqueeze", layer.op("Not", mask), axes) for mask in known]
    if layer.spec.use_causal_mask:
        queries, keys = layer.node.input_shapes[0][0], layer.node.input_shapes[-1][0]
        later = np.arange(queries)[:, np.newaxis] < np.arange(keys)
        hidden.append(layer.derived(f"later_{queries}_{keys}", later))
    return hidden


_NEVER = float(np.finfo(np.float32).min) / 2  # the score of what must not count

CONVERTERS: dict[str, Callable[..., str]] = {
    "embedding": _embedding,
    "multi_head_attention": _multi_head_attention,
    "positional_embedding": _positional_embedding,
}
