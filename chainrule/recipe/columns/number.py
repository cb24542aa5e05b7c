"""Numbers as features: a missing one filled in, then scaled."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from chainrule.errors import SpecError
from chainrule.recipe.columns.cells import NumericColumn, Problems, Source
from chainrule.recipe.gathering import packed

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.spec.preprocessing import NumberOptions

__all__ = ["NumberColumn", "NumberTable", "fit_number", "mode", "scale", "signed_log"]

BLOCK_ROWS = 4096
MOMENTS_ROWS = 1 << 20


class NumberColumn(NumericColumn):
    """A scaled column: (x - offset) / scale in float64, ``fill`` standing for a missing x.

    ``log``: of sign(x) log(1 + |x|) instead of x. ``indicator``: a second feature is 1 where x is
    missing. ``mean`` and ``std`` are what older recipes call offset and scale.
    """

    kind: Literal["number"] = "number"
    source: Source = Field("number", exclude_if=lambda source: source == "number")
    offset: float
    scale: float = Field(gt=0.0)
    fill: float
    log: bool = Field(False, exclude_if=operator.not_)
    indicator: bool = Field(False, exclude_if=operator.not_)

    @model_validator(mode="before")
    @classmethod
    def _has_old_names(cls, document: Any) -> Any:
        if isinstance(document, Mapping) and {"mean", "std"} <= set(document):
            rest = {name: value for name, value in document.items() if name not in ("mean", "std")}
            mean = document["mean"]
            return {"offset": mean, "scale": document["std"], "fill": mean, **rest}
        return document

    @property
    def width(self) -> int:
        return 1 + self.indicator

    def read(self, cells: Sequence[object], problems: Problems) -> Array:
        """Return the values of a prediction's cells, as the training file would give them."""
        return self.numbers_of(cells, problems, self.source)


class NumberTable:
    """All number columns of a table at once: few calls for few rows.

    ``places`` are where each column's features begin.
    """

    def __init__(self, columns: Sequence[NumberColumn], places: Sequence[int]) -> None:
        self._places = list(places)
        self._offset = np.array([column.offset for column in columns])
        self._scale = np.array([column.scale for column in columns])
        fills = (signed_log(np.array([c.fill])).item() if c.log else c.fill for c in columns)
        self._fill = np.array([*fills])
        self._logs = [index for index, column in enumerate(columns) if column.log]
        self._indicators = [index for index, column in enumerate(columns) if column.indicator]

    def write(self, blocks: Sequence[Array], x: Array) -> None:
        """Write all features, some rows at a time.

        Shapes: blocks one (rows,) for each column, x (rows, width).
        """
        for start in range(0, len(x), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            columns = [block[rows] for block in blocks]
            for index in self._logs:
                columns[index] = signed_log(columns[index])
            values = np.stack(columns, axis=1)
            missing = np.isnan(values)
            with np.errstate(over="ignore", invalid="ignore"):  # what leaves the range ends as inf
                scaled = (np.where(missing, self._fill, values) - self._offset) / self._scale
                # Adding zero turns -0.0 into 0.0: JSON has no -0, files do.
                x[rows, self._places] = scaled + 0.0
            for index in self._indicators:
                x[rows, self._places[index] + 1] = missing[:, index]


def signed_log(values: Array) -> Array:
    """Return sign(x) log(1 + |x|): log1p for x >= 0, and defined below it."""
    values = np.ascontiguousarray(values)  # else another loop, whose last bit may differ
    return np.copysign(np.log1p(np.abs(values)), values)


def fit_number(
    name: str, values: Array, options: NumberOptions, source: Source, by_code: list[float]
) -> NumberColumn:
    """Learn how to scale a column.

    Shape: values (training rows,), NaN where missing; they are no longer what they were after it.
    Raises: SpecError at ``inputs``, if its numbers are too large.
    """
    rows, there = len(values), packed(values)
    log = options.scaling.kind == "log1p"
    offset, spread = _scaling(signed_log(there) if log else there, options.scaling.kind)
    fill = _fill(there, options)
    if not (np.isfinite(offset) and np.isfinite(spread) and np.isfinite(fill)):
        raise SpecError.at("inputs", f"column {name!r} has numbers too large to standardise")
    return NumberColumn(
        name=name,
        source=source,
        by_code=by_code,
        drops=options.missing.kind == "drop",
        offset=offset,
        scale=spread,
        fill=fill,
        log=log,
        indicator=options.indicator and len(there) < rows,
    )


def scale(values: Array) -> tuple[float, float]:
    """Return mean and standard deviation, which is 1 where the values do not differ."""
    if not values.size:
        return 0.0, 1.0
    if values.min() == values.max():  # the mean of equal numbers may be off by a rounding error
        return float(values[0]) + 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = _moments(values)
    return mean + 0.0, std or 1.0


def _moments(values: Array) -> tuple[float, float]:
    """Return mean and deviation; of many values numpy's would take twice their memory.

    Of those in one block they are numpy's, bit for bit.
    """
    blocks = [values[n : n + MOMENTS_ROWS] for n in range(0, len(values), MOMENTS_ROWS)]
    mean = sum(block.sum() for block in blocks) / len(values)
    squares = sum(np.square(block - mean).sum() for block in blocks)
    return float(mean), math.sqrt(squares / len(values))


def mode(values: Array) -> float:
    """Return the most frequent number, of several the smallest."""
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()])


def _scaling(values: Array, kind: str) -> tuple[float, float]:
    """Return what is taken off, and what the rest is divided by, which is 1 instead of 0."""
    if kind == "none" or not values.size:
        return 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "min_max":
            low = float(values.min())
            return low + 0.0, (float(values.max()) - low) or 1.0
        if kind == "robust":
            low, middle, high = map(
                float, np.quantile(values, [0.25, 0.5, 0.75], overwrite_input=True)
            )
            return middle + 0.0, (high - low) or 1.0
        return scale(values)


def _fill(values: Array, options: NumberOptions) -> float:
    missing = options.missing
    if missing.kind == "constant":
        return missing.value
    if not values.size:
        return 0.0
    match missing.kind:
        case "median":
            return float(np.median(values, overwrite_input=True)) + 0.0
        case "mode":
            return mode(values) + 0.0
        case _:  # of a dropped one in prediction, too
            return scale(values)[0]
