"""Raw cells of a prediction, and a training file's tensors, as the numbers they stand for."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, Problem, step
from chainrule.recipe.values import read_datetime, read_number
from chainrule.spec.base import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.kernels import Array

__all__ = ["MAX_PROBLEMS", "ColumnBase", "NumericColumn", "Problems", "Source"]

MAX_PROBLEMS = 20

# How the training file held a column, whatever it is learnt as.
Source = Literal["number", "category", "datetime"]


class Problems:
    """Complaints about cells, gathered up to a limit so that one answer names more than one."""

    def __init__(self) -> None:
        self.name = ""
        self.found: list[Problem] = []

    def add(self, path: str, detail: str) -> None:
        self.found.append(Problem(f"rows{path}", detail))
        if len(self.found) >= MAX_PROBLEMS:
            self.check()

    def guard(self, read: Callable[[object], Any], cell: object, row: int) -> Any:
        """Read a cell, or note why it cannot be read."""
        try:
            return read(cell)
        except DataError as error:
            self.add(f"[{row}]{step(self.name)}", error.problems[0].detail)
            return None

    def check(self) -> None:
        if self.found:
            raise DataError(*self.found)


class ColumnBase(Document):
    """What all columns are: a name, and whether rows without a value are learnt from.

    *Values* below are what a column makes of a tensor or of cells: numbers with NaN for a missing
    one, or the places of categories. They become features by ``write``.
    """

    name: str
    drops: bool = Field(False, exclude_if=operator.not_)

    def numbers_of(self, cells: Sequence[object], problems: Problems, source: Source) -> Array:
        """Read cells that are numbers or dates.  Shape: (rows,)."""
        read = read_datetime if source == "datetime" else read_number
        found = [problems.guard(read, cell, index) for index, cell in enumerate(cells)]
        return np.array(found, np.float64)


class NumericColumn(ColumnBase):
    """A column whose values are numbers; ``by_code`` are those that a training file's words are."""

    source: Source
    by_code: list[float] = Field([], exclude_if=operator.not_)

    def of_tensor(self, tensor: Array) -> Array:
        """Return a training tensor's values.  Shape: (rows,)."""
        if self.source == "category":
            values: Array = np.array([*self.by_code, np.nan])[tensor]  # the last, at -1: missing
            return values
        return tensor
