"""Numbers as features: a missing one filled in, then scaled."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from chainrule.errors import SpecError
from chainrule.recipe.columns.cells import NumericColumn, Problems, Source

if TYPE_CHECKING:
    from chainrule.kernels import Array
    from chainrule.recipe.gathering import Present
    from chainrule.spec.preprocessing import NumberOptions

__all__ = ["NumberColumn", "NumberTable", "fit_number", "moments", "signed_log"]

BLOCK_ROWS = 4096


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


@dataclass(frozen=True)
class Moments:
    """How many values there are, and what they are like; all are 0 where there is none."""

    count: int
    low: float
    high: float
    mean: float
    std: float

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation, which is 1 where the values do not differ."""
        return self.mean + 0.0, self.std or 1.0


def fit_number(
    name: str, values: Present, options: NumberOptions, source: Source, by_code: list[float]
) -> NumberColumn:
    """Learn how to scale a column from what its training rows have.

    Raises: SpecError at ``inputs``, if its numbers are too large.
    """
    found, log = moments(values), options.scaling.kind == "log1p"
    offset, spread = _scaling(values, found, options.scaling.kind)
    fill = _fill(values, found, options)
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
        indicator=options.indicator and found.count < len(values.rows),
    )


def moments(values: Present) -> Moments:
    """Measure values in two passes over their blocks, whose sums are numpy's."""
    count, low, high, total = 0, math.inf, -math.inf, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for block in values.blocks():
            count, total = count + len(block), total + block.sum()
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not count:
            return Moments(0, 0.0, 0.0, 0.0, 0.0)
        if low == high:  # the mean of equal numbers may be off by a rounding error
            return Moments(count, low, high, low, 0.0)
        mean = total / count
        squares = sum(np.square(block - mean).sum() for block in values.blocks())
    return Moments(count, low, high, float(mean), math.sqrt(squares / count))


def _mode(values: Present) -> float:
    """Return the most frequent number, of several the smallest."""
    found, counts = np.unique(values.whole(), return_counts=True)
    return float(found[counts.argmax()])


def _scaling(values: Present, found: Moments, kind: str) -> tuple[float, float]:
    """Return what is taken off, and what the rest is divided by, which is 1 instead of 0."""
    if kind == "none" or not found.count:
        return 0.0, 1.0
    if kind == "min_max":
        return found.low + 0.0, (found.high - found.low) or 1.0
    if kind == "robust":
        with np.errstate(over="ignore", invalid="ignore"):
            low, middle, high = map(
                float, np.quantile(values.whole(), [0.25, 0.5, 0.75], overwrite_input=True)
            )
        return middle + 0.0, (high - low) or 1.0
    return (moments(values.then(signed_log)) if kind == "log1p" else found).scale


def _fill(values: Present, found: Moments, options: NumberOptions) -> float:
    missing = options.missing
    if missing.kind == "constant":
        return missing.value
    if not found.count:
        return 0.0
    match missing.kind:
        case "median":
            return float(np.median(values.whole(), overwrite_input=True)) + 0.0
        case "mode":
            return _mode(values) + 0.0
        case _:  # of a dropped one in prediction, too
            return found.scale[0]
