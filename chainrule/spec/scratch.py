"""What a step takes from the tape, played through layer by layer before there is a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.room import Span, Spans, first_gap, joined
from chainrule.spec.endings import given_on
from chainrule.spec.layers import Scratch
from chainrule.spec.layers.base import activation_scratch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chainrule.spec.graph import Node

__all__ = ["forward_scratch", "learning", "step_values"]


_LOSS = 16  # a cache line


class _Endings:
    """The layers' scratch memory, where some activate what others leave to them."""

    def __init__(self, walked: list[Node]) -> None:
        givers = given_on(walked)
        by_name = {node.name: node for node in walked}
        self._given = set(givers)
        self._taken = {
            taker: activation_scratch(
                by_name[giver].spec.activation,  # type: ignore[attr-defined]
                math.prod(by_name[taker].output_shape),
            )
            for giver, taker in givers.items()
            if by_name[taker].spec.kind != "batch_norm"  # that one keeps nothing of it
        }

    def scratch(self, node: Node, *, wants_dx: bool) -> Scratch:
        """Return what a layer takes: ``wants_dx``, if the gradient in its inputs is wanted."""
        spec = node.spec
        if node.name in self._given:
            spec = spec.model_copy(update={"activation": "linear"})
        taken, more = (
            spec.scratch(*node.input_shapes, wants_dx=wants_dx),
            self._taken.get(node.name),
        )
        if more is None:
            return taken
        back = taken.back_per_row + more.back_per_row
        return taken._replace(per_row=taken.per_row + more.per_row, back_per_row=back)


class _Line:
    """The tape's memory, as far as it is taken, and ever was."""

    def __init__(self) -> None:
        self.taken: Spans = ()
        self.reach = 0

    def take(self, size: int) -> Span:
        start = first_gap(self.taken, size)
        span = start, start + size
        self.taken = joined([*self.taken, span])
        self.reach = max(self.reach, span[1])
        return span


def forward_scratch(walked: list[Node]) -> Scratch:
    """Return what a forward pass takes."""
    endings = _Endings(walked)
    taken = [endings.scratch(node, wants_dx=False) for node in walked]
    return Scratch(sum(one.per_row for one in taken), sum(one.fixed for one in taken))


def step_values(
    walked: list[Node], outputs: Iterable[str], rows: int, *, inputs: bool = False
) -> int:
    """Return how many values a training step takes at its peak, besides its rows.

    A layer's backward takes over what later ones no longer need, as ``chainrule.graph`` frees it.
    ``inputs``: whether the gradient in the network's inputs is wanted.
    """
    line, learns, endings = _Line(), learning(walked), _Endings(walked)
    behind: dict[str, Spans] = {}  # what is taken after each layer's forward
    slopes: dict[str, Span] = {}  # the gradients still to go on
    stays: list[Span] = []
    for node in walked:
        taken = endings.scratch(node, wants_dx=False)
        _, end = line.take(rows * taken.per_row + taken.fixed)
        behind[node.name] = line.taken
        if node.name in outputs:
            stays.append((end - min(end, rows * math.prod(node.output_shape)), end))
    for node in walked:
        if node.name in outputs:  # the loss, which stays, and one more array to work in
            size = rows * math.prod(node.output_shape)
            stays.append(line.take(_LOSS))
            line.take(size)
            slopes[node.name] = line.take(size)
    summed: set[str] = set()
    for node in reversed(walked):
        if inputs or node.name in learns:
            line.taken = joined([*behind[node.name], *stays, *slopes.values()])
            wanted = [inputs or source in learns for source in node.inputs]
            taken = endings.scratch(node, wants_dx=any(wanted))
            dxs = _backward(node, taken, line, rows, slopes.pop(node.name))
            reached = zip(node.inputs, node.input_shapes, dxs, wanted, strict=True)
            for source, shape, dx, is_wanted in reached:
                if is_wanted and source not in slopes:
                    slopes[source] = dx
                elif is_wanted and source not in summed:
                    slopes[source] = line.take(rows * math.prod(shape))
                    summed.add(source)
    return line.reach


def _backward(node: Node, taken: Scratch, line: _Line, rows: int, dy: Span) -> list[Span]:
    """Take what a layer's backward takes; return the gradients in its inputs."""
    size = rows * taken.back_per_row
    passes = size < rows * sum(map(math.prod, node.input_shapes))
    sizes = [0 if passes else rows * math.prod(shape) for shape in node.input_shapes]
    for _ in range(taken.back_parts):
        line.take((size - sum(sizes)) // taken.back_parts)
    line.take(taken.back_fixed)
    if node.shares is not None:  # its gradients are added through scratch
        line.take(sum(weight.size for weight in node.spec.weights(*node.input_shapes)))
    return [dy if passes else line.take(size) for size in sizes]


def learning(walked: list[Node]) -> set[str]:
    """Return the layers through which a gradient reaches a parameter: its own, or one above."""
    owners = {node.name: node for node in walked}
    found: set[str] = set()
    for node in walked:
        own = node if node.shares is None else owners[node.shares]
        if own.trainable or any(source in found for source in node.inputs):
            found.add(node.name)
    return found
