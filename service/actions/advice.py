"""What a sound job does that was hardly meant: said beside the job, never refused."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from chainrule.errors import step
from chainrule.recipe.values import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["advice"]

# What an activation cannot leave.
_REACH = {
    "relu": "nothing below 0",
    "sigmoid": "0 to 1",
    "softmax": "0 to 1",
    "tanh": "-1 to 1",
}
# What a loss makes of the outputs by itself.
_LINKS = {
    "softmax_cross_entropy": "softmax",
    "focal": "softmax",
    "kullback_leibler": "softmax",
    "binary_cross_entropy": "sigmoid",
    "poisson": "exp",
}


def advice(config: Mapping[str, Any], recipe: Mapping[str, Any], steps: int) -> list[str]:
    """Return the warnings of a job's rendered configuration and recipe, each with its place."""
    return [
        *_doubtful_targets(config, recipe),
        *_rare_classes(recipe),
        *_linked_twice(config),
        *_out_of_reach(config, recipe),
        *_windows_without_effect(config),
        *_warmup_without_end(config, steps),
        *_idle_threads(config),
    ]


def _doubtful_targets(config: Mapping[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    """Find classes that are learnt as numbers, and classes that nothing is of."""
    for output, target in _targets(config, recipe).items():
        place = f"data.target{step(output)}" if output else "data.target"
        if few := target.get("few"):
            yield (
                f"{place}: {target['name']!r} has {few} distinct whole numbers and is learnt as a "
                'number; give "task": "classification" to learn classes'
            )
        if absent := target.get("absent"):
            one = len(absent) == 1
            which = f"class {absent[0]} has" if one else f"classes {listed(absent)} have"
            yield f"{place}: {which} no row; an array's classes are all from 0 to its largest"


def _rare_classes(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Find classes that a part of the rows has none of."""
    for part, classes in recipe.get("lacking", {}).items():
        which = f"class {listed(classes)}" if len(classes) == 1 else f"classes {listed(classes)}"
        yield f"data.split: {part} has no row of {which}"


def _linked_twice(config: Mapping[str, Any]) -> Iterator[str]:
    """Find outputs with a softmax or sigmoid under a loss that takes logits."""
    training = config["training"]
    losses = training.get("losses") or {}
    for index, layer in _outputs(config):
        loss = losses.get(layer["name"], training["loss"]) or {}
        link = _LINKS.get(loss.get("kind", ""))
        if link and layer.get("activation") in ("softmax", "sigmoid"):
            yield (
                f"architecture.layers[{index}].activation: {loss['kind']} takes the outputs as "
                f"they are before {link}, and applies it itself: leave the layer linear"
            )


def _out_of_reach(config: Mapping[str, Any], recipe: Mapping[str, Any]) -> Iterator[str]:
    """Find outputs that cannot be what a standardised column is, on both sides of 0."""
    targets = _targets(config, recipe)
    for index, layer in _outputs(config):
        target = targets.get(layer["name"]) or targets.get("", {})
        spread = (target.get("mean", 0.0), target.get("std", 1.0))
        reach = _REACH.get(str(layer.get("activation")))
        if reach and spread != (0.0, 1.0):
            yield (
                f"architecture.layers[{index}].activation: {layer['activation']} gives {reach}, "
                f"{target['name']!r} is standardised, to both sides of 0: leave the layer linear"
            )


def _windows_without_effect(config: Mapping[str, Any]) -> Iterator[str]:
    size, one = config["training"].get("bptt_steps"), config["architecture"].get("input")
    if size is not None and one is not None and size >= one["shape"][0]:
        steps = one["shape"][0]
        yield f"training.bptt_steps: {size:,} cuts nothing, the sequences have {steps:,} steps"


def _warmup_without_end(config: Mapping[str, Any], steps: int) -> Iterator[str]:
    warmup = (config["training"].get("schedule") or {}).get("warmup_steps", 0)
    if warmup and warmup >= steps:
        yield (
            f"training.schedule.warmup_steps: {warmup:,}, the job has {steps:,} steps: "
            "the rate rises to the end"
        )


def _idle_threads(config: Mapping[str, Any]) -> Iterator[str]:
    """Find shards without a row, and threads without a shard or a core."""
    training, cores = config["training"], os.cpu_count() or 1
    shards, threads = training.get("shards", 1), training.get("threads", 1)
    if shards > training["batch_size"]:
        rows = training["batch_size"]
        yield f"training.shards: {shards:,}, a batch has {rows:,} rows: the other shards are empty"
    if threads > shards:
        many = f"{shards:,} shards" if shards > 1 else "1 shard"
        yield f"training.threads: {threads:,}, a batch has {many}: the other threads have no work"
    if min(threads, shards) > cores:
        yield f"training.threads: {threads:,}, this machine has {cores:,} cores for them"


def _targets(config: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what each output learns, of an only one under no name."""
    several = isinstance(config["data"]["target"], dict)
    return dict(recipe["target"]) if several else {"": recipe["target"]}


def _outputs(config: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Find the layers that give an output, by their names as ArchitectureSpec counts them."""
    layers, outputs = config["architecture"]["layers"], config["architecture"].get("outputs")
    seen: Counter[str] = Counter()
    for index, layer in enumerate(layers):
        seen[layer["kind"]] += 1
        name = layer["name"] or f"{layer['kind']}_{seen[layer['kind']]}"
        if index == len(layers) - 1 if outputs is None else name in outputs:
            yield index, {**layer, "name": name}
