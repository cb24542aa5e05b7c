"""How values and gradients run through a graph of layers: forward in order, backward in reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.errors import ShapeError
from chainrule.spec import Node, learning

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.layers import Layer
    from chainrule.tape import Tape

__all__ = ["Graph", "Values", "named", "unnamed"]

# One array, or where there are several inputs or outputs, {name: array}.
Values = Any


class _Step(NamedTuple):
    """One layer's place in the plan; values are numbered, the network's inputs first."""

    layer: Layer
    sources: tuple[int, ...]
    joins: bool  # whether the layer takes a list of inputs and gives back one of gradients
    learns: bool  # whether a gradient is wanted of the layer, to reach a parameter
    passes: tuple[bool, ...]  # which inputs it goes on to then
    keeps_mask: bool


class Graph:
    """The layers in an order in which each comes after what feeds it."""

    def __init__(
        self, walked: Sequence[Node], layers: Sequence[Layer], inputs: list[str], outputs: list[str]
    ) -> None:
        number = {name: n for n, name in enumerate([*inputs, *(node.name for node in walked)])}
        learns = learning(list(walked))
        self._inputs = len(inputs)
        self._outputs = [number[name] for name in outputs]
        self._steps = [
            _Step(
                layer,
                tuple(number[source] for source in node.inputs),
                node.spec.most_inputs > 1,
                node.name in learns,
                tuple(source in learns for source in node.inputs),
                node.spec.keeps_mask,
            )
            for node, layer in zip(walked, layers, strict=True)
        ]

    def forward(
        self, xs: list[Array], tape: Tape, *, inputs: bool
    ) -> tuple[list[Array], Callable[[list[Array]], list[Array | None]]]:
        """Run every layer; ``tape.masks`` gets the mask of each output.

        The backward takes a gradient for each output, and returns one for each input, None where
        it was not wanted.
        """
        values = list(xs)
        masks: list[Array | None] = [None] * len(xs)
        backwards: list[tuple[int, _Step, Callable[[Array], Any]]] = []
        for step in self._steps:
            tape.wants_dx = inputs or any(step.passes)
            tape.source_masks = [masks[source] for source in step.sources]
            tape.mask = _joined(tape.source_masks)
            given = [values[source] for source in step.sources]
            y, back = step.layer.forward(given if step.joins else given[0], tape)
            if inputs or step.learns:
                backwards.append((len(values), step, back))
            values.append(y)
            masks.append(tape.mask if step.keeps_mask else None)
        tape.masks = [masks[number] for number in self._outputs]

        def backward(dys: list[Array]) -> list[Array | None]:
            gradients: list[Array | None] = [None] * len(values)
            shared = [False] * len(values)  # whether the gradient is our own memory

            def add(number: int, dy: Array) -> None:
                so_far = gradients[number]
                if so_far is None:
                    gradients[number] = dy
                elif shared[number]:
                    so_far += dy
                else:
                    gradients[number] = np.add(so_far, dy, out=tape.empty(dy.shape))
                    shared[number] = True

            for number, dy in zip(self._outputs, dys, strict=True):
                add(number, dy)
            for number, step, back in reversed(backwards):
                dy = gradients[number]
                if dy is None:
                    continue
                dx = back(dy)
                parts = dx if step.joins else [dx]
                for source, part, passes in zip(step.sources, parts, step.passes, strict=True):
                    if inputs or passes:
                        add(source, part)
            return gradients[: self._inputs]

        return [values[number] for number in self._outputs], backward


def named(values: Any, names: list[str]) -> dict[str, Any]:
    """Return values by name; a bare one is that of the only name.

    Raises: ShapeError, if the names are other ones.
    """
    if isinstance(values, Mapping):
        if set(values) != set(names):
            raise ShapeError(f"wants values for {names}, got {list(values)}")
        return {name: values[name] for name in names}
    if len(names) > 1:
        raise ShapeError(f"wants a mapping with values for {names}, got one value")
    return {names[0]: values}


def unnamed(values: dict[str, Any]) -> Any:
    """Return the only value bare, several by name."""
    return next(iter(values.values())) if len(values) == 1 else values


def _joined(masks: list[Array | None]) -> Array | None:
    """Return the mask of several inputs together: a step counts where it counts in each."""
    known = [mask for mask in masks if mask is not None]
    if not known:
        return None
    joined = known[0]
    for mask in known[1:]:
        if mask.shape == joined.shape:  # only attention takes others, and looks at each itself
            joined = joined & mask
    return joined
