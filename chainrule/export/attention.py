"""Learned vectors and attention as ONNX operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


CONVERTERS: dict[str, Callable[..., str]] = {
    "embedding": _embedding,
    "positional_embedding": _positional_embedding,
}
