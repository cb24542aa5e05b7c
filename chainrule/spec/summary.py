"""What an architecture costs: shapes, parameters, operations and memory, before it runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.spec.graph import Node, nodes
from chainrule.spec.scratch import step_values

if TYPE_CHECKING:
    from chainrule.spec.architecture import ArchitectureSpec

__all__ = ["Start", "starting", "summarize"]


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
    inputs, targets, and what forward, the loss and backward have in use at their peak.
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
    targets = sum(math.prod(node.output_shape) for node in walked if node.name in outputs)
    inputs = sum(math.prod(shape) for shape in spec.input_shapes.values())
    tapes = min(shards, batch_size)
    values = parameters * (1 + slots) + state + batch_size * (inputs + targets)
    values += tapes * (parameters + step_values(walked, outputs, -(-batch_size // tapes)))
    return {
        "layers": rows,
        "parameters": parameters,
        "flops_per_sample": sum(row["flops"] for row in rows),
        "memory_bytes": itemsize * values,
        "batch_size": batch_size,
    }


def starting(walked: list[Node]) -> Start:
    """Return what it costs to fill the parameters, before anything else is there."""
    flops, largest = 0, 0
    for weight in (weight for node in walked for weight in node.weights):
        if getattr(weight.initializer, "kind", weight.initializer) == "orthogonal":
            rows, columns = math.prod(weight.shape[:-1]), weight.shape[-1]
            flops += 4 * max(rows, columns) * min(rows, columns) ** 2
            largest = max(largest, weight.size)
    return Start(flops, 5 * 8 * largest)  # doubles: drawn, factored, the factors, one by halves
