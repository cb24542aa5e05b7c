"""What a sound job does that was hardly meant: said beside the job, never refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["advice"]

# What a loss makes of the outputs by itself.
_LINKS = {
    "softmax_cross_entropy": "softmax",
    "focal": "softmax",
    "kullback_leibler": "softmax",
    "binary_cross_entropy": "sigmoid",
    "poisson": "exp",
}


def advice(config: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a job's rendered configuration, each with its place."""
    return [*_linked_twice(config), *_windows_without_effect(config)]


def _linked_twice(config: Mapping[str, Any]) -> Iterator[str]:
    """Find outputs with a softmax or sigmoid under a loss that takes logits."""
    training, layers = config["training"], config["architecture"]["layers"]
    outputs = config["architecture"].get("outputs")
    losses = training.get("losses") or {}
    for index, layer in enumerate(layers):
        is_output = index == len(layers) - 1 if outputs is None else layer["name"] in outputs
        loss = losses.get(layer["name"], training["loss"]) or {}
        link = _LINKS.get(loss.get("kind", ""))
        if is_output and link and layer.get("activation") in ("softmax", "sigmoid"):
            yield (
                f"architecture.layers[{index}].activation: {loss['kind']} takes the outputs as "
                f"they are before {link}, and applies it itself: leave the layer linear"
            )


def _windows_without_effect(config: Mapping[str, Any]) -> Iterator[str]:
    size, one = config["training"].get("bptt_steps"), config["architecture"].get("input")
    if size is not None and one is not None and size >= one["shape"][0]:
        steps = one["shape"][0]
        yield f"training.bptt_steps: {size:,} cuts nothing, the sequences have {steps:,} steps"
