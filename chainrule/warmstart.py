"""Warm starts: a network takes over the tensors of another where names and shapes agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.bundle import Model, load
from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError, SpecError
from chainrule.network import Network
from chainrule.spec import ArchitectureSpec, nodes, parse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from chainrule.kernels import Array
    from chainrule.spec import Shape

__all__ = ["Receipt", "Skipped", "receipt", "tensor_shapes", "tensors_of", "warm_start"]

SHOWN = 20  # tensors of each side, in an error


@dataclass(frozen=True)
class Skipped:
    """A layer that starts, at least in part, as its initializers say, and why."""

    layer: str
    reason: str


@dataclass(frozen=True)
class Receipt:
    """What a warm start took over, as names of layers.

    A layer of which some tensors fit and others do not is in both ``restored`` and ``skipped``.
    ``unused``: the layers of the source of which nothing was taken.
    """

    restored: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    unused: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "restored": list(self.restored),
            "skipped": [vars(one) for one in self.skipped],
            "unused": list(self.unused),
        }


def warm_start(
    net: Network,
    source: str | Path | bytes | Network | Model | Checkpoint | Mapping[str, Any],
    spec: ArchitectureSpec | Mapping[str, Any] | str | None = None,
) -> Receipt:
    """Copy every tensor of the source whose ``<layer>.<tensor>`` name and shape the network has.

    Parameters and moving statistics are taken over, in the network's own precision; the state of
    an optimizer is not. ``source``: a bundle or its path, a model, another network, a mapping
    of arrays, or a checkpoint with the ``spec`` of its network.
    Raises: SpecError, if nothing matches; CheckpointError, if the source is damaged or its
    checkpoint is not one of the spec. The network is then unchanged.
    """
    given = _tensors(source, spec)
    views = {**net.parameters, **net.states}
    wanted = {name: view.shape for name, view in views.items()}
    found = receipt(wanted, {name: tensor.shape for name, tensor in given.items()})
    with np.errstate(over="ignore"):  # a number too large for the precision is told by training
        for name, view in views.items():
            if name in given and given[name].shape == view.shape:
                view[...] = given[name]
    return found


def receipt(wanted: Mapping[str, Shape], given: Mapping[str, Shape]) -> Receipt:
    """Compare a network's tensors with a source's, by name and shape.

    Raises: SpecError, if nothing matches, with the tensors of both.
    """
    fitting = {name for name, shape in wanted.items() if given.get(name) == shape}
    if not fitting:
        sides = f"the network has {_shown(wanted)}; the source has {_shown(given)}"
        raise SpecError.at("", f"nothing matches: {sides}")
    taken, there = set(_layers(fitting)), _layers(given)
    skipped = []
    for layer in _layers(wanted):
        reasons = [
            _reason(name, shape, given.get(name))
            for name, shape in wanted.items()
            if _layer(name) == layer and name not in fitting
        ]
        if reasons:
            missing = f"the source has no layer {layer}"
            skipped.append(Skipped(layer, "; ".join(reasons) if layer in there else missing))
    return Receipt(
        restored=tuple(layer for layer in _layers(wanted) if layer in taken),
        skipped=tuple(skipped),
        unused=tuple(layer for layer in there if layer not in taken),
    )


def tensor_shapes(spec: ArchitectureSpec) -> dict[str, Shape]:
    """Return the shape of each tensor of a network of this architecture, by its name."""
    return {f"{n.name}.{w.name}": w.shape for n in nodes(spec) for w in n.weights}


def tensors_of(checkpoint: Checkpoint, spec: ArchitectureSpec) -> dict[str, Array]:
    """Cut the flat vectors of a checkpoint into the tensors of its network.

    Raises: CheckpointError, if they are not those of the architecture.
    """
    vectors = {True: checkpoint.parameters, False: checkpoint.state}
    offsets = {True: 0, False: 0}
    tensors = {}
    for node in nodes(spec):
        for weight in node.weights:
            start = offsets[weight.trainable]
            offsets[weight.trainable] = end = start + weight.size
            piece = vectors[weight.trainable][start:end]
            if piece.size == weight.size:
                tensors[f"{node.name}.{weight.name}"] = piece.reshape(weight.shape)
    if any(vectors[kind].size != size for kind, size in offsets.items()):
        raise CheckpointError("the checkpoint's vectors are not those of the architecture")
    return tensors


def _tensors(source: Any, spec: Any) -> dict[str, Array]:
    """Return the source's tensors by name."""
    if isinstance(source, Checkpoint):
        if spec is None:
            raise SpecError.at("spec", "is missing: a checkpoint does not name its tensors")
        return tensors_of(source, parse(ArchitectureSpec, spec))
    if isinstance(source, Mapping):
        return {str(name): _numbers(str(name), value) for name, value in source.items()}
    if not isinstance(source, Network):
        source = (source if isinstance(source, Model) else load(source)).network
    return {**source.parameters, **source.states}


def _numbers(name: str, value: Any) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise SpecError.at(name, f"must be an array of numbers, got {array.dtype}")
    return array


def _layer(name: str) -> str:
    """Return the layer of a tensor: a layer's name has no dot, a tensor's may have."""
    return name.partition(".")[0]


def _layers(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(_layer, names)))


def _reason(name: str, wanted: Shape, given: Shape | None) -> str:
    tensor = name.partition(".")[2]
    if given is None:
        return f"{tensor}: {wanted} here, not in the source"
    return f"{tensor}: {wanted} here, {given} in the source"


def _shown(tensors: Mapping[str, Shape]) -> str:
    names = [f"{name} {shape}" for name, shape in list(tensors.items())[:SHOWN]]
    more = len(tensors) - len(names)
    return ", ".join(names + [f"and {more} more"] * (more > 0)) or "no tensors"
