"""Whether a job's augmentation suits its data, and what it takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.errors import SpecError
from chainrule.fitting import check_augmentation
from chainrule.spec import nodes, vocabularies

if TYPE_CHECKING:
    from chainrule.spec import ArchitectureSpec, DataSpec, TrainingSpec

__all__ = ["memory_bytes"]

DRAWN_VALUES = 2**19  # of noise, with what they are made of: some rows at a time


def memory_bytes(data: DataSpec, spec: ArchitectureSpec, training: TrainingSpec) -> int:
    """Estimate the memory in which a batch is augmented: for copies of it, and for what is drawn.

    Raises: SpecError at ``data``, if a step does not suit the inputs, or what is learnt from them.
    """
    steps, shapes = data.augmentation, spec.input_shapes
    try:
        check_augmentation(steps, shapes, vocabularies(nodes(spec)))
        for number, step in enumerate(steps):
            if data.task == "reconstruction" and step.kind != "noise":
                detail = f"{step.kind} changes the inputs, reconstruction learns them as they were"
                raise SpecError.at(f"augmentation[{number}]", detail)
            if step.kind == "noise" and data.window is not None and data.window.padding:
                detail = "noise would make padded steps of a window differ from its mask_value"
                raise SpecError.at(f"augmentation[{number}]", detail)
    except SpecError as error:
        raise error.under("data") from None
    if not steps:
        return 0
    values = training.batch_size * sum(map(math.prod, shapes.values()))
    return 8 * (3 * values + DRAWN_VALUES)
