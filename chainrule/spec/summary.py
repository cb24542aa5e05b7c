"""What an architecture costs: shapes, parameters, operations and memory, before it runs."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.spec.endings import given_on
from chainrule.spec.graph import Node, nodes
from chainrule.spec.layers import Scratch
from chainrule.spec.layers.base import activation_scratch

if TYPE_CHECKING:
    from chainrule.spec.architecture import ArchitectureSpec

__all__ = ["Start", "learning", "scratch", "starting", "summarize"]


class Start(NamedTuple):
    """What the initializers cost that factor a matrix: in operations, and in memory."""

    flops: int
    n_bytes: int


def summarize(
    spec: ArchitectureSpec,
    *,
    batch_size: int = 32,
    itemsize: int = 4,
    slots: int = 2,
    shards: int = 1,
) -> dict[str, Any]:
    """Return each layer's shapes and cost, and the whole network's.

    Units: bytes; FLOPs of one sample's forward pass. ``memory_bytes`` is what a training step
    needs: parameters, ``slots`` vectors of the optimizer, state, gradients by shard, and the tapes:
    inputs, targets, what forward and backward of each layer take, and two arrays for the loss.
    """
    walked = nodes(spec)
    rows = [
        {
            "name": node.name,
            "kind": spec.layers[node.index].kind,
            "inputs": list(node.inputs),
            "output_shape": list(node.output_shape),
            "parameters": node.parameters,
            "flops": node.spec.flops(*node.input_shapes),
            "activation_bytes": itemsize * math.prod(node.output_shape),
        }
        for node in sorted(walked, key=lambda node: node.index)
    ]
    parameters = sum(node.parameters for node in walked)
    state = sum(node.state for node in walked)
    outputs = set(spec.output_names)
    ends = sum(math.prod(node.output_shape) for node in walked if node.name in outputs)
    inputs = sum(math.prod(shape) for shape in spec.input_shapes.values())
    taken = scratch(walked)
    tapes = min(shards, batch_size)
    values = parameters * (1 + slots) + state + tapes * (parameters + taken.fixed)
    values += batch_size * (taken.per_row + inputs + 3 * ends)
    return {
        "layers": rows,
        "parameters": parameters,
        "flops_per_sample": sum(row["flops"] for row in rows),
        "memory_bytes": itemsize * values,
        "batch_size": batch_size,
    }


def scratch(walked: list[Node], *, inputs: bool = False) -> Scratch:
    """Return what a training step takes from the tape: values for each row, and at any rate.

    ``inputs``: whether the gradient in the network's inputs is wanted.
    """
    per_row = fixed = 0
    learns = learning(walked)
    consumers = Counter(source for node in walked for source in node.inputs)
    endings = given_on(walked)
    sizes = {node.name: math.prod(node.output_shape) for node in walked}
    kinds = {node.name: node.spec.kind for node in walked}
    for node in walked:
        wants_dx = inputs or any(source in learns for source in node.inputs)
        spec = node.spec
        if node.name in endings:
            given: str = spec.activation  # type: ignore[attr-defined]
            spec = spec.model_copy(update={"activation": "linear"})
            taker = endings[node.name]
            if kinds[taker] != "batch_norm":  # that one keeps nothing of it
                per_row += activation_scratch(given, sizes[taker])
        taken = spec.scratch(*node.input_shapes, wants_dx=wants_dx)
        per_row, fixed = per_row + taken.per_row, fixed + taken.fixed
        if node.shares is not None:  # its gradients are added through scratch
            fixed += sum(weight.size for weight in node.spec.weights(*node.input_shapes))
        if consumers[node.name] > 1 and (inputs or node.name in learns):
            per_row += sizes[node.name]
    return Scratch(per_row, fixed)


def starting(walked: list[Node]) -> Start:
    """Return what it costs to fill the parameters, before anything else is there."""
    flops, largest = 0, 0
    for weight in (weight for node in walked for weight in node.weights):
        if getattr(weight.initializer, "kind", weight.initializer) == "orthogonal":
            rows, columns = math.prod(weight.shape[:-1]), weight.shape[-1]
            flops += 4 * max(rows, columns) * min(rows, columns) ** 2
            largest = max(largest, weight.size)
    return Start(flops, 5 * 8 * largest)  # doubles: drawn, factored, the factors, one by halves


def learning(walked: list[Node]) -> set[str]:
    """Return the layers through which a gradient reaches a parameter: its own, or one above."""
    owners = {node.name: node for node in walked}
    found: set[str] = set()
    for node in walked:
        own = node if node.shares is None else owners[node.shares]
        if own.trainable or any(source in found for source in node.inputs):
            found.add(node.name)
    return found
