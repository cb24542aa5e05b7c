"""The classes of a target, counted in the rows of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule.errors import SpecError
from chainrule.losses import class_counts
from chainrule.recipe.gathering import BLOCK_ROWS
from chainrule.recipe.targets import ClassTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.kernels import Array
    from chainrule.recipe.split import Split
    from chainrule.recipe.targets import Label
    from chainrule.spec import AnySplit
    from chainrule.spec.training.losses import LossName

__all__ = ["Part", "count_classes", "lacking_classes"]

Part = Literal["train", "validation", "test"]
MAX_LACKING = 20  # classes that are named


def count_classes(target: ClassTarget, loss: LossName, tensor: Array, rows: Array) -> Array:
    """Return how many of some rows each class has.  Shape: (classes,)."""
    counts = np.zeros(len(target.classes))
    for start in range(0, len(rows), BLOCK_ROWS):
        values = tensor[rows[start : start + BLOCK_ROWS]]
        counts += class_counts(target.encode(values, loss, "float64"), len(counts))
    return counts


def lacking_classes(
    tensors: Mapping[str, Array], spec: AnySplit, split: Split, targets: Sequence[Any]
) -> dict[Part, list[Label]]:
    """Return the classes that training has no row of, if they were dealt by class each part.

    Raises: SpecError at ``split``, if rows are dealt by classes that there are not.
    """
    by_class = spec.kind == "stratified" or getattr(spec, "stratified", False)
    if by_class and not all(isinstance(target, ClassTarget) for target in targets):
        place = "split.kind" if spec.kind == "stratified" else "split.stratified"
        raise SpecError.at(place, "stratified goes by classes, the target has none")
    found: dict[Part, list[Label]] = {}
    parts: tuple[Part, ...] = ("train", "validation", "test") if by_class else ("train",)
    for target in targets:
        if not isinstance(target, ClassTarget) or target.one_hot or target.steps:
            continue
        for part in parts:
            rows = getattr(split, part)
            there = np.zeros(len(target.keys), np.bool_)
            for start in range(0, len(rows), BLOCK_ROWS):
                some = tensors[target.name][rows[start : start + BLOCK_ROWS]]
                there |= np.isin(target.keys, some)
            absent = [c for c, here in zip(target.classes, there, strict=True) if not here]
            absent = [c for c in absent if c not in target.absent]
            if len(rows) and absent:
                found.setdefault(part, []).extend(absent[:MAX_LACKING])
    return found
