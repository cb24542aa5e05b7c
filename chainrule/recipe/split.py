"""Which rows train, which validate, which test: from the seed and the number of rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import SpecError
from chainrule.recipe.values import counted
from chainrule.streams import generator

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.spec import SplitSpec

__all__ = ["Split", "split_rows"]


@dataclass(frozen=True)
class Split:
    """The row numbers of each part, each ascending."""

    train: Array
    validation: Array
    test: Array


def split_rows(rows: Array, spec: SplitSpec, seed: int) -> Split:
    """Deal rows to the three parts; a part with a share has a row at least.

    Raises: SpecError at ``split``, if none is left to train on.
    """
    validation, test = _count(len(rows), spec.validation), _count(len(rows), spec.test)
    kept = validation + test
    if kept >= len(rows):
        wanted = f"validation {validation:,}, test {test:,}"
        detail = f"leaves no row to train on: {counted(len(rows), 'row')} with a target ({wanted})"
        raise SpecError.at("split", detail)
    # Every bit as the permutation of a number: of millions of rows, few arrays and small ones.
    order = generator(seed, "split").permutation(np.arange(len(rows), dtype=rows.dtype))
    part = np.zeros(len(rows), np.uint8)
    part[order[:validation]] = 1
    part[order[validation:kept]] = 2
    del order
    train, validating, testing = (rows[part == number] for number in range(3))
    return Split(train, validating, testing)


def _count(rows: int, share: float) -> int:
    return max(1, round(rows * share)) if share else 0
