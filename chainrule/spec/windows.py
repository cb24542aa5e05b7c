"""Truncated backpropagation through time: which networks it suits, and into how many windows.

The steps of a batch of sequences are cut in windows, one after the other. Each window begins with
the recurrent states that the one before ended with, and gradients stop at its beginning.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from chainrule.errors import SpecError
from chainrule.spec.graph import nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.spec.architecture import ArchitectureSpec
    from chainrule.spec.graph import Node
    from chainrule.spec.layers import Shape
    from chainrule.spec.training import TrainingSpec

__all__ = ["Windows", "makes_mask", "stage_steps", "windows"]


class Windows(NamedTuple):
    """How the sequences of a batch are cut: in ``parts`` of ``size`` steps, None if they are whole.

    ``aligned``: whether the outputs have a value for each step, and so each part its own.
    ``through``: the numbers of the layers that take the parts one after the other; what the others
    take has no such steps, as a decoder's code.
    """

    parts: int = 1
    size: int | None = None
    aligned: bool = False
    through: frozenset[int] = frozenset()

    @property
    def updates(self) -> int:
        """How many steps of training a batch makes: a part each, or one learnt from the last."""
        return self.parts if self.aligned else 1


def windows(spec: ArchitectureSpec, walked: list[Node], training: TrainingSpec) -> Windows:
    """Return how a training cuts the sequences of a network.

    Raises: SpecError at ``bptt_steps``, naming the layer that cannot go on from window to window;
    at ``shuffle``, if a layer goes on from batch to batch.
    """
    stateful = [node for node in walked if getattr(node.spec, "stateful", False)]
    if stateful and training.shuffle:
        detail = f"must be false: {stateful[0].name!r} is stateful, batches go on from each other"
        raise SpecError.at("shuffle", detail)
    if training.bptt_steps is None:
        return Windows()
    inputs, outputs, size = spec.input_shapes, spec.output_names, training.bptt_steps
    steps = _steps(walked, inputs)
    running = set(inputs)  # what has a value for each step of the window
    through = set()
    for node in walked:
        fed = [source in running for source in node.inputs]
        if not any(fed):
            continue
        if not all(fed):
            raise _refused(f"{node.name!r} joins sequences that are cut with others that are not")
        if not node.spec.any_length or _is_across_steps(node):
            raise _refused(f"{node.name!r} ({node.spec.kind}) needs the whole sequence at once")
        through.add(node.index)
        if node.spec.keeps_mask:
            running.add(node.name)
    parts = -(-steps // size)
    aligned = [name in running for name in outputs]
    if any(aligned) and not all(aligned):
        raise _refused("wants outputs that all have a value for each step, or none")
    if not any(aligned) and any(makes_mask(node) for node in walked):
        raise _refused(
            "wants an output for each step (return_sequences) where padded steps are masked: "
            "the last window of a short sequence would be padding only"
        )
    return Windows(parts, size, all(aligned), frozenset(through))


def _steps(walked: list[Node], inputs: dict[str, Shape]) -> int:
    """Return how many steps the input sequences have."""
    embedded = {node.inputs[0] for node in walked if node.spec.kind == "embedding"}
    for name, shape in inputs.items():
        if len(shape) < 2 and name not in embedded:
            raise _refused(f"wants input sequences (steps, features), {name!r} has {shape}")
    steps = {shape[0] for shape in inputs.values()}
    if len(steps) > 1:
        raise _refused(f"wants inputs of equally many steps, got {dict(inputs)}")
    return steps.pop()


def _is_across_steps(node: Node) -> bool:
    """Return whether a layer's only axis is that of the steps, which it takes for features."""
    return len(node.input_shape) == 1 and node.spec.kind != "embedding"


def makes_mask(node: Node) -> bool:
    """Return whether a layer finds steps that are padding."""
    return node.spec.kind == "masking" or bool(getattr(node.spec, "mask_zero", False))


def _refused(detail: str) -> SpecError:
    return SpecError.at("bptt_steps", detail)


def stage_steps(rows: Sequence[int], spec: ArchitectureSpec, training: TrainingSpec) -> list[int]:
    """Return how many steps each network of a job has, which learns from so many rows.

    Raises: as ``windows``.
    """
    updates = windows(spec, nodes(spec), training).updates
    return [training.epochs * math.ceil(each / training.batch_size) * updates for each in rows]
