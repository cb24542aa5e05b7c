"""Whether the layers that give a network's outputs fit what these learn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.errors import SpecError, step
from chainrule.spec import nodes
from chainrule.spec.layers import BidirectionalSpec, RecurrentBase

if TYPE_CHECKING:
    from chainrule.recipe import Recipe
    from chainrule.recipe.targets import Learnt
    from chainrule.spec import ArchitectureSpec, Node, Shape

__all__ = ["check"]

SHAPE_KEEPING = ("activation", "dropout")
_RECURRENT = (BidirectionalSpec, RecurrentBase)


def check(spec: ArchitectureSpec, recipe: Recipe) -> None:
    """Raise SpecError, at the layer whose width is wrong, if a loss cannot take an output."""
    walked = {node.name: node for node in nodes(spec)}
    for output, learnt in recipe.learnt(spec.output_names).items():
        _check_one(walked, output, learnt, several=isinstance(recipe.target, dict))


def _check_one(walked: dict[str, Node], output: str, learnt: Learnt, *, several: bool) -> None:
    wanted, loss = learnt.shape, learnt.loss
    where, of = "training.loss", ""
    if several:
        where, of = f"training.losses{step(output)}", f" of output {output!r}"
    if loss != "binary_cross_entropy" and learnt.target.kind == "classes" and wanted[-1] < 2:
        detail = f"{loss} needs 2 classes at least, the data has {wanted[-1]}"
        raise SpecError.at(where, detail + of)
    got = walked[output].output_shape
    if learnt.fits(got):
        return
    unit = _unit(learnt)
    last = _maker(walked, output)
    if len(got) == len(wanted) == 1 and last.spec.kind == "dense":
        place = f"architecture.layers[{last.index}].units"
        raise SpecError.at(place, f"must be {wanted[0]:,} for {loss}{of} ({unit}), got {got[0]:,}")
    giver = f"layer {output!r}" if several else "the last layer"
    detail = f"{loss} wants outputs of shape {wanted} ({unit}), {giver} gives {got}"
    raise SpecError.at(where, detail + _remedy(walked, got, wanted))


def _remedy(walked: dict[str, Node], got: Shape, wanted: Shape) -> str:
    """Say what makes an output's shape the wanted one, where that is plain."""
    if len(got) == 1 and math.prod(got) == math.prod(wanted):
        return f': put {{"kind": "reshape", "target_shape": {list(wanted)}}} after it'
    for node in reversed(walked.values()):
        is_last_step = isinstance(node.spec, _RECURRENT) and len(node.output_shape) == 1
        if is_last_step and len(got) < len(wanted) and node.input_shape[0] == wanted[0]:
            return f": layer {node.name!r} gives every step with return_sequences true"
    return ""


def _maker(walked: dict[str, Node], output: str) -> Node:
    """Return the layer that gives an output its shape."""
    node = walked[output]
    while node.spec.kind in SHAPE_KEEPING and node.inputs[0] in walked:
        node = walked[node.inputs[0]]
    return node


def _unit(learnt: Learnt) -> str:
    """Say what an output is."""
    target, units = learnt.target, learnt.shape[-1]
    if target.kind == "inputs":
        return "the inputs come back"
    if target.kind == "values":
        return f"the target has {units:,} value" + "s" * (units > 1)
    if learnt.loss == "binary_cross_entropy":
        return f"the data has {units:,} yes-or-no target" + "s" * (units > 1)
    return f"the data has {units:,} classes"
