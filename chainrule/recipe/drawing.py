"""Which rows a recipe is learnt from: those that have all they need, in their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from chainrule.errors import SpecError
from chainrule.recipe.split import Sight, Split, row_numbers, split_rows
from chainrule.recipe.targets import present

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from chainrule.kernels import Array
    from chainrule.spec import AnySplit

__all__ = ["Counted", "Drawn", "check_weights", "draw", "sight", "usable"]


MAX_WEIGHT = float(np.finfo(np.float32).max)
Counted = Literal["train", "validation", "test", "dropped"]


class Drawn(NamedTuple):
    """Samples in parts, and the rows that these are of.

    ``split`` has the samples' own numbers, ``goals`` the rows that hold their targets,
    ``with_target`` all of these, ``inputs`` the rows that go in to learn from. ``dropped`` counts
    rows by the first column that lacks a value. All are ascending.
    """

    split: Split
    goals: Split
    with_target: Array
    inputs: Array
    dropped: dict[str, int]

    def counts(self, everyone: int) -> dict[Counted, int]:
        """Return how many samples each part has, and how many of all rows are ``dropped``."""
        train, validation, test = (
            len(part) for part in (self.split.train, self.split.validation, self.split.test)
        )
        dropped = everyone - train - validation - test
        return {"train": train, "validation": validation, "test": test, "dropped": dropped}


def draw(rows: tuple[Array, dict[str, int]], spec: AnySplit, seed: int, seen: Sight) -> Drawn:
    """Deal rows, of which each is a sample; ``rows`` as ``usable`` gives them.

    Raises: SpecError at ``split``.
    """
    everyone, dropped = rows
    split = split_rows(everyone, spec, seed, seen)
    return Drawn(split, split, everyone, split.train, dropped)


def sight(
    tensors: Mapping[str, Array], words: Mapping[str, list[str]], targets: Sequence[str]
) -> Sight:
    """Return what a split may look at."""
    return Sight(tensors, words, targets[0] if len(targets) == 1 else None)


def usable(
    tensors: Mapping[str, Array], schema_kind: str, needed: Iterable[str], rows: int
) -> tuple[Array, dict[str, int]]:
    """Return the numbers of the rows that have all that is needed, ascending.

    And how many have not, by the first column that lacks a value.
    """
    mask = np.ones(rows, np.bool_)
    left, dropped = rows, {}
    for name in dict.fromkeys(needed):
        mask &= present(tensors, schema_kind, name)
        now = int(np.count_nonzero(mask))
        if now < left:
            dropped[name] = left - now
        left = now
    return row_numbers(mask), dropped


def check_weights(
    values: Array, name: str, drawn: Drawn, shapes: Iterable[tuple[int, ...]]
) -> None:
    """Check the weights of the rows that are learnt from, or of the steps of their targets.

    Shapes: values (rows, ...), ``shapes`` of what the network gives for a row.
    Raises: SpecError, if they are not all good, or none is more than 0.
    """
    for shape in shapes:
        if values.ndim > len(shape) or values.shape[1:] != shape[: values.ndim - 1]:
            wanted = "row or step" if len(shape) > 1 else "row"
            detail = f"array {name!r} must have one number for each {wanted}, has {values.shape}"
            raise SpecError.at("sample_weight", detail)
    goals = values[drawn.with_target]
    # NaN compares false; a larger one is infinite where it is used.
    good = goals.dtype.kind in "fiub" and goals.min() >= 0 and goals.max() <= MAX_WEIGHT
    if not good:
        detail = f"{name!r} must hold a finite number >= 0 in each row that has a target"
        raise SpecError.at("sample_weight", detail)
    if not np.float32(values[drawn.goals.train].max()):
        detail = f"{name!r} is 0 in all rows to train on: there is nothing to learn"
        raise SpecError.at("sample_weight", detail)
