"""The graph of an architecture: which layer feeds which, in which order, with which shapes."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.errors import Problem, SpecError
from chainrule.spec.architecture import INPUT, SHAPE_KEEPING
from chainrule.spec.layers import (
    BidirectionalSpec,
    EmbeddingSpec,
    FlattenSpec,
    LayerBase,
    RecurrentBase,
    ReshapeSpec,
    Shape,
    SharedSpec,
    Weight,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chainrule.spec.architecture import ArchitectureSpec

__all__ = ["Node", "asked", "check_wiring", "nodes", "vocabularies"]

MAX_PARAMETERS = 250_000_000
MAX_VALUES = 10**9  # of a sample, going into the network or out of a layer
MAX_FLOPS = 10**13  # of a sample: an hour of one core


@dataclass(frozen=True)
class Node:
    """One layer in its place: what feeds it, what comes out, what it costs.

    ``spec`` is the layer's own, or that of the layer ``shares``, whose tensors it uses.
    ``is_output``: whether what comes out is an output of the network, whatever else it feeds.
    """

    index: int
    name: str
    spec: LayerBase
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    weights: tuple[Weight, ...]
    shares: str | None = None
    is_output: bool = False

    @property
    def input_shape(self) -> Shape:
        """The shape of the first input, for most layers the only one."""
        return self.input_shapes[0]

    @property
    def trainable(self) -> tuple[Weight, ...]:
        """What gradient descent moves."""
        return tuple(weight for weight in self.weights if weight.trainable)

    @property
    def parameters(self) -> int:
        """How many numbers gradient descent moves."""
        return sum(weight.size for weight in self.trainable)

    @property
    def state(self) -> int:
        """How many numbers training moves without gradients."""
        return sum(weight.size for weight in self.weights) - self.parameters


def nodes(spec: ArchitectureSpec) -> list[Node]:
    """Walk the graph and infer every shape; a layer comes after what feeds it.

    Raises: SpecError, at the layer that does not fit, stating the shapes.
    """
    shapes = spec.input_shapes
    for name, shape in shapes.items():
        if math.prod(shape) > MAX_VALUES:
            place = "input.shape" if spec.inputs is None else f"inputs.{name}.shape"
            raise SpecError(Problem(place, _too_many(shape)))
    names, sources, order = _wired(spec, list(shapes))
    found: dict[str, Node] = {}
    for index in order:
        node = _node(spec, index, names[index], sources[index], found, shapes)
        found[node.name] = node
        shapes[node.name] = node.output_shape
    walked = list(found.values())
    vocabularies(walked)
    total = sum(node.parameters + node.state for node in walked)
    if total > MAX_PARAMETERS:
        raise SpecError(Problem("layers", f"{total:,} parameters; at most {MAX_PARAMETERS:,}"))
    flops = sum(node.spec.flops(*node.input_shapes) for node in walked)
    if flops > MAX_FLOPS:
        raise SpecError(Problem("layers", f"{flops:.2g} FLOPs a sample; at most {MAX_FLOPS:.2g}"))
    return walked


def asked(spec: ArchitectureSpec) -> list[str]:
    """Return the names that layers take from and that none has, in order: those of inputs."""
    names = set(spec.names)
    given = (name for layer in spec.layers for name in layer.inputs or [])
    return [name for name in dict.fromkeys(given) if name not in names]


def check_wiring(spec: ArchitectureSpec) -> None:
    """Check what can be checked of a graph whose inputs are left to the data.

    These may have names, if the first layer asks for one.
    Raises: SpecError, at a name that is unknown or given twice, a cycle, or a loose end.
    """
    inputs = asked(spec)
    only = spec.layers[0].inputs is None or not inputs
    _wired(spec, [INPUT] if only else inputs)


def _wired(
    spec: ArchitectureSpec, inputs: list[str]
) -> tuple[list[str], list[tuple[str, ...]], list[int]]:
    """Return the layers' names, what feeds each, and an order to walk them in."""
    names = _names(spec, inputs)
    owners = _owners(spec, names)
    known = {*inputs, *names}
    sources = [
        _sources(spec, index, spec.layers[owners.get(index, index)], names, inputs, known)
        for index in range(len(names))
    ]
    order = _order(names, sources, owners)
    _check_outputs(spec, names, sources, inputs)
    return names, sources, order


def vocabularies(walked: Iterable[Node]) -> dict[str, int]:
    """Return {input: number of its values} of the inputs that feed embeddings.

    Raises: SpecError, at an embedding that is fed by what a layer computes.
    """
    found: dict[str, int] = {}
    by_name = {node.name: node for node in walked}
    for node in by_name.values():
        if not isinstance(node.spec, EmbeddingSpec):
            continue
        source = node.inputs[0]
        while source in by_name and isinstance(by_name[source].spec, FlattenSpec | ReshapeSpec):
            source = by_name[source].inputs[0]
        if source in by_name:
            detail = f"an embedding takes whole numbers from an input, {source!r} computes others"
            raise SpecError(Problem(f"layers[{node.index}].inputs", detail))
        size = node.spec.known_input_dim
        found[source] = min(size, found.get(source, size))
    return found


def _names(spec: ArchitectureSpec, inputs: list[str]) -> list[str]:
    names = spec.names
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        place = f"layers[{index}].name"
        if first.setdefault(name, index) != index:
            raise SpecError(Problem(place, f"{name!r} names another layer already"))
        if name in inputs:
            raise SpecError(Problem(place, f"{name!r} names the network's input"))
    return names


def _sources(  # noqa: PLR0913, PLR0917
    spec: ArchitectureSpec,
    index: int,
    layer: LayerBase,
    names: list[str],
    inputs: list[str],
    known: set[str],
) -> tuple[str, ...]:
    """Return the names of what feeds a layer; ``layer`` is its own spec, or that it shares."""
    place, kind = f"layers[{index}].inputs", layer.kind
    given = spec.layers[index].inputs
    if given is None:
        if layer.least_inputs > 1:
            raise SpecError(Problem(place, f"is missing: {kind} joins several layers, name them"))
        if not index and len(inputs) > 1:  # no order: not every store and client keeps an object's
            several = ", ".join(inputs)
            detail = f"is missing: the network has several inputs, {several}"
            raise SpecError(Problem(place, detail))
        given = [names[index - 1] if index else inputs[0]]
    if not layer.least_inputs <= len(given) <= layer.most_inputs:
        fewest, most = layer.least_inputs, layer.most_inputs
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise SpecError(Problem(place, f"{kind} takes {wanted}, got {len(given)}: {given}"))
    for position, name in enumerate(given):
        if name not in known:
            some = ", ".join([*inputs, *names][:20])
            detail = f"there is no layer or input {name!r}; there are {some}"
            raise SpecError(Problem(f"{place}[{position}]", detail))
    return tuple(given)


def _check_outputs(
    spec: ArchitectureSpec,
    names: list[str],
    sources: list[tuple[str, ...]],
    inputs: list[str],
) -> None:
    """See to it that every layer and input leads to an output."""
    outputs = spec.output_names
    for position, name in enumerate(outputs):
        if name not in names or name in outputs[:position]:
            what = "is named twice" if name in names else "is not a layer"
            raise SpecError(Problem(f"outputs[{position}]", f"{name!r} {what}"))
    used = {*outputs, *(name for given in sources for name in given)}
    for index, name in enumerate(names):
        if name not in used:
            detail = f"{name!r} feeds no layer and is not an output"
            raise SpecError(Problem(f"layers[{index}]", detail))
    for name in inputs:
        if name not in used:
            place = "input" if spec.inputs is None else f"inputs.{name}"
            raise SpecError(Problem(place, f"{name!r} feeds no layer"))


def _owners(spec: ArchitectureSpec, names: list[str]) -> dict[int, int]:
    """Return, for each shared layer, the place of the layer whose tensors it uses."""
    owners: dict[int, int] = {}
    for index, layer in enumerate(spec.layers):
        if isinstance(layer, SharedSpec):
            place = f"layers[{index}].layer"
            if layer.layer not in names:
                raise SpecError(Problem(place, f"there is no layer {layer.layer!r}"))
            owner = names.index(layer.layer)
            if isinstance(spec.layers[owner], SharedSpec):
                raise SpecError(Problem(place, f"{layer.layer!r} is itself shared: name its layer"))
            owners[index] = owner
    return owners


def _order(names: list[str], sources: list[tuple[str, ...]], owners: dict[int, int]) -> list[int]:
    """Return the layers' places in an order in which each comes after what it needs.

    Where the document has such an order already, it is kept.  Raises: SpecError, at a cycle.
    """
    place = {name: index for index, name in enumerate(names)}
    needs = [{place[name] for name in given if name in place} for given in sources]
    for index, owner in owners.items():
        needs[index].add(owner)
    feeds: list[list[int]] = [[] for _ in names]
    for index, needed in enumerate(needs):
        for source in needed:
            feeds[source].append(index)
    missing = [len(needed) for needed in needs]
    ready = [index for index, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for fed in feeds[index]:
            missing[fed] -= 1
            if not missing[fed]:
                heapq.heappush(ready, fed)
    if len(order) < len(names):
        raise _cycle(names, needs, set(range(len(names))) - set(order))
    return order


def _cycle(names: list[str], needs: list[set[int]], left: set[int]) -> SpecError:
    """Follow what each layer waits for until a layer comes round again."""
    path = [min(left)]
    while True:
        following = min(needs[path[-1]] & left)
        if following in path:
            break
        path.append(following)
    round_trip = [*path[path.index(following) :], following]
    shown = " <- ".join(names[index] for index in round_trip)
    return SpecError(Problem(f"layers[{following}].inputs", f"a cycle: {shown}"))


def _node(  # noqa: PLR0913, PLR0917
    spec: ArchitectureSpec,
    index: int,
    name: str,
    inputs: tuple[str, ...],
    found: dict[str, Node],
    shapes: dict[str, Shape],
) -> Node:
    """Infer a layer's shapes from those of what feeds it."""
    given = spec.layers[index]
    shared = found[given.layer] if isinstance(given, SharedSpec) else None
    layer: LayerBase = given if shared is None else shared.spec
    into = tuple(shapes[source] for source in inputs)
    try:
        out, weights = layer.output_shape(*into), layer.weights(*into)
    except SpecError as error:
        fed = ", ".join(f"{source!r} {shapes[source]}" for source in inputs)
        where = f"(layer {name!r}, fed by {fed})"
        where += _every_step(layer, inputs[0], found)
        told = (Problem(p.path, f"{p.detail} {where}") for p in error.problems)
        raise SpecError(*told).under(f"layers[{index}]") from None
    if math.prod(out) > MAX_VALUES:
        raise SpecError(Problem(f"layers[{index}]", f"{_too_many(out)} (layer {name!r})"))
    if shared is not None:
        _check_shared(index, shared, weights, into)
        weights = ()
    owner = None if shared is None else shared.name
    is_output = name in spec.output_names
    return Node(index, name, layer, inputs, into, out, weights, owner, is_output)


def _every_step(layer: LayerBase, source: str, found: dict[str, Node]) -> str:
    """Name the recurrent layer that would feed a layer what it wants, if it gave every step."""
    while source in found and found[source].spec.kind in SHAPE_KEEPING:
        source = found[source].inputs[0]
    node = found.get(source)
    if node is None or not isinstance(node.spec, BidirectionalSpec | RecurrentBase):
        return ""
    if len(node.output_shape) > 1:
        return ""
    try:
        layer.output_shape((node.input_shape[0], *node.output_shape))
    except SpecError:
        return ""
    return f" (return_sequences true in {source!r} gives every step)"


def _too_many(shape: Shape) -> str:
    return f"{math.prod(shape):,} values a sample, of shape {shape}; at most {MAX_VALUES:,}"


def _check_shared(
    index: int, shared: Node, weights: tuple[Weight, ...], into: tuple[Shape, ...]
) -> None:
    if [w.shape for w in weights] != [w.shape for w in shared.weights]:
        here, there = ", ".join(map(str, into)), ", ".join(map(str, shared.input_shapes))
        detail = f"{shared.name!r} takes inputs of shape {there}, this one is fed {here}"
        raise SpecError(Problem(f"layers[{index}].layer", detail))
