"""How values and gradients run through a graph of layers: forward in order, backward in reverse."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule import kernels
from chainrule.layers import NO_ENDING
from chainrule.spec import Node, given_on, learning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.kernels import Array
    from chainrule.layers import Layer
    from chainrule.memory import Place
    from chainrule.tape import Tape

__all__ = ["Graph"]


class _Step(NamedTuple):
    """One layer's place in the plan; values are numbered, the network's inputs first."""

    layer: Layer
    sources: tuple[int, ...]
    joins: bool  # whether the layer takes a list of inputs and gives back one of gradients
    learns: bool  # whether a gradient is wanted of the layer, to reach a parameter
    passes: tuple[bool, ...]  # which inputs it goes on to then
    wants_dx: bool  # whether to any
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
                any(source in learns for source in node.inputs),
                node.spec.keeps_mask,
            )
            for node, layer in zip(walked, _with_endings(walked, layers), strict=True)
        ]

    def forward(
        self, xs: list[Array], tape: Tape, *, inputs: bool
    ) -> tuple[list[Array], Callable[[list[Array]], list[Array | None]]]:
        """Run every layer; ``tape.masks`` gets the mask of each output.

        The backward takes a gradient for each output, and returns one for each input, None where
        it was not wanted. It may run once: what forward left is gone as soon as it was used.
        """
        values = list(xs)
        masks: list[Array | None] = [None] * len(xs)
        backwards: list[tuple[int, _Step, Callable[[Array], Any], Place]] = []
        for step in self._steps:
            layer, sources, joins, learns, _, wants_dx, keeps_mask = step
            tape.wants_dx = inputs or wants_dx
            if joins:
                tape.source_masks = [masks[source] for source in sources]
                tape.mask = _joined(tape.source_masks)
                y, back = layer.forward([values[source] for source in sources], tape)
            else:
                tape.mask = masks[sources[0]]
                y, back = layer.forward(values[sources[0]], tape)
            if inputs or learns:
                backwards.append((len(values), step, back, tape.place))
            values.append(y)
            masks.append(tape.mask if keeps_mask else None)
        tape.masks = [masks[number] for number in self._outputs]

        ys = [values[number] for number in self._outputs]
        for y in ys:
            tape.keep(y)

        def backward(dys: list[Array]) -> list[Array | None]:
            sums = _Sums(len(values), tape)
            for number, dy in zip(self._outputs, dys, strict=True):
                sums.add(number, dy)
            for number, step, back, place in reversed(backwards):
                _, sources, joins, _, passes, wants_dx, _ = step
                tape.free(place, sums.values)  # what only later layers needed
                dx = back(sums.values[number])
                sums.values[number] = None
                if joins:
                    for source, part, reaches in zip(sources, dx, passes, strict=True):
                        if inputs or reaches:
                            sums.add(source, part)
                elif inputs or wants_dx:
                    sums.add(sources[0], dx)
            return sums.values[: self._inputs]

        return ys, backward


class _Sums:
    """The gradient in each value: what all that it feeds give back, added up."""

    def __init__(self, size: int, tape: Tape) -> None:
        self.values: list[Any] = [None] * size
        self._own: set[int] = set()  # where the sum is our own memory, and may be written to
        self._tape = tape

    def add(self, number: int, dy: Array) -> None:
        so_far = self.values[number]
        if so_far is None:
            self.values[number] = dy
        elif number in self._own:
            kernels.add(so_far, dy, so_far)
        else:
            self.values[number] = self._tape.empty(dy.shape)
            kernels.add(so_far, dy, self.values[number])
            self._own.add(number)


def _with_endings(walked: Sequence[Node], layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers, some of which add another's bias and apply its activation."""
    found: dict[str, Any] = {node.name: layer for node, layer in zip(walked, layers, strict=True)}
    for giver, taker in given_on(walked).items():
        found[taker] = replace(found[taker], ending=found[giver].ending)
        found[giver] = replace(found[giver], ending=NO_ENDING)
    return [found[node.name] for node in walked]


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
