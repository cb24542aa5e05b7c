"""The architecture: a graph of layers as data, its shapes and cost checked before it runs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from chainrule.errors import Problem, SpecError
from chainrule.spec.base import Document
from chainrule.spec.layers import DenseSpec, LayerBase, LayerSpec, Shape, Weight

__all__ = ["ArchitectureSpec", "InputSpec", "Node", "complete", "nodes", "summarize"]

MAX_PARAMETERS = 250_000_000


class InputSpec(Document):
    """What goes in: the shape of one sample, the batch axis left out."""

    shape: list[Annotated[int, Field(ge=1, le=10_000_000)]] = Field(min_length=1, max_length=4)


class ArchitectureSpec(Document):
    """A network as data.  ``input`` and a last ``units: auto`` may be left to the job's data."""

    name: str = Field("network", min_length=1, max_length=200)
    input: InputSpec | None = None
    layers: list[LayerSpec] = Field(min_length=1, max_length=1000)

    @property
    def names(self) -> list[str]:
        """Each layer's name: its own, or its kind and a running number from 1."""
        seen: Counter[str] = Counter()
        names = []
        for layer in self.layers:
            seen[layer.kind] += 1
            names.append(layer.name or f"{layer.kind}_{seen[layer.kind]}")
        return names


@dataclass(frozen=True)
class Node:
    """One layer in its place: what feeds it, what comes out, what it costs."""

    index: int
    name: str
    spec: LayerBase
    inputs: tuple[str, ...]
    input_shape: Shape
    output_shape: Shape
    weights: tuple[Weight, ...]

    @property
    def parameters(self) -> int:
        return sum(weight.size for weight in self.weights)


def complete(
    spec: ArchitectureSpec, input_shape: Shape | None = None, output_units: int | None = None
) -> ArchitectureSpec:
    """Fill in what the data decides: the input's shape, and ``auto`` units of the last layer.

    Raises: SpecError, if a given shape differs from the data's, or ``auto`` stands elsewhere.
    """
    changes: dict[str, Any] = {}
    if input_shape is not None:
        if spec.input is None:
            changes["input"] = InputSpec(shape=list(input_shape))
        elif tuple(spec.input.shape) != input_shape:
            given = tuple(spec.input.shape)
            raise SpecError(Problem("input.shape", f"is {given}, the data has {input_shape}"))
    for index, layer in enumerate(spec.layers):
        if isinstance(layer, DenseSpec) and layer.units == "auto":
            if index != len(spec.layers) - 1:
                place = f"layers[{index}].units"
                raise SpecError(Problem(place, "only the last layer may have auto units"))
            if output_units is not None:
                last = layer.model_copy(update={"units": output_units})
                changes["layers"] = [*spec.layers[:-1], last]
    return spec.model_copy(update=changes)


def nodes(spec: ArchitectureSpec) -> list[Node]:
    """Walk the graph and infer every shape.

    Raises: SpecError, at the layer that does not fit, stating the shapes.
    """
    if spec.input is None:
        raise SpecError(Problem("input", "is missing: the shape is known only from a job's data"))
    walked: list[Node] = []
    names = spec.names
    for index, (name, layer) in enumerate(zip(names, spec.layers, strict=True)):
        place = f"layers[{index}]"
        above = names[index - 1] if index else "input"
        if names.index(name) != index:
            raise SpecError(Problem(f"{place}.name", f"{name!r} names another layer already"))
        if name == "input":
            raise SpecError(Problem(f"{place}.name", "'input' names the network's input"))
        if layer.inputs not in (None, [above]):
            known = f"only the layer above ({above!r}) can feed a layer yet"
            raise SpecError(Problem(f"{place}.inputs", f"{known}, got {layer.inputs}"))
        shape = walked[-1].output_shape if walked else tuple(spec.input.shape)
        try:
            out, weights = layer.output_shape(shape), layer.weights(shape)
        except SpecError as error:
            raise error.under(place) from None
        walked.append(Node(index, name, layer, (above,), shape, out, weights))
    total = sum(node.parameters for node in walked)
    if total > MAX_PARAMETERS:
        raise SpecError(Problem("layers", f"{total:,} parameters; at most {MAX_PARAMETERS:,}"))
    return walked


def summarize(
    spec: ArchitectureSpec, *, batch_size: int = 32, itemsize: int = 4, slots: int = 2
) -> dict[str, Any]:
    """Return each layer's shapes and cost, and the whole network's.

    Units: bytes; FLOPs of one sample's forward pass. ``memory_bytes`` is what a training step
    needs: parameters, gradients and optimizer slots, and for each row its inputs, up to four
    arrays of each layer's size (the output, what its backward keeps, two gradients), and the
    target, its gradient and scratch of the loss.
    """
    walked = nodes(spec)
    rows = [
        {
            "name": node.name,
            "kind": node.spec.kind,
            "inputs": list(node.inputs),
            "output_shape": list(node.output_shape),
            "parameters": node.parameters,
            "flops": node.spec.flops(node.input_shape),
            "activation_bytes": itemsize * math.prod(node.output_shape),
        }
        for node in walked
    ]
    parameters = sum(node.parameters for node in walked)
    activations = itemsize * sum(math.prod(node.output_shape) for node in walked)
    inputs = itemsize * math.prod(walked[0].input_shape)
    of_loss = 3 * itemsize * math.prod(walked[-1].output_shape)
    return {
        "layers": rows,
        "parameters": parameters,
        "flops_per_sample": sum(node.spec.flops(node.input_shape) for node in walked),
        "memory_bytes": itemsize * parameters * (2 + slots)
        + batch_size * (4 * activations + inputs + of_loss),
        "batch_size": batch_size,
    }
