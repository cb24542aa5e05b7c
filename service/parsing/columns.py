"""What is told of a table's column, whoever has read or written it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.recipe.values import counted
from service.parsing.datetimes import iso_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.kernels import Array

__all__ = ["datetime_column", "identifies", "number_column", "text_column", "warn"]

MAX_WHOLE = 2**53  # beyond it a float64 no longer tells neighbours apart
ID_ROWS = 20  # fewer rows than this say nothing about a column's being an id
BINS = 20  # of a histogram
MOSTLY_MISSING = 0.5
NEARLY = 0.98  # of the rows, where different values are estimated
_CHUNK_ROWS = 1 << 16  # sums are made of these, however the column came in


def number_column(
    name: str, numbers: Array, warnings: list[str], *, unique: int, fractional: bool
) -> dict[str, Any]:
    """Describe numbers (NaN where missing), ``fractional`` if any is written as a fraction."""
    count, low, high, mean, whole = _sums(numbers)
    integer = bool(count) and not fractional and whole
    if integer and max(abs(low), abs(high)) >= MAX_WHOLE:
        warnings.append(f"column {name!r}: whole numbers beyond 2^53 are rounded")
        integer = False
    exact = int if integer else float
    return {
        "name": name,
        "type": "integer" if integer else "number",
        "missing": len(numbers) - count,
        "unique": unique,
        "min": exact(low) if count else None,
        "max": exact(high) if count else None,
        "mean": _finite(mean),
        **_spread(numbers, (low, high, mean), unit=integer),
    }


def datetime_column(name: str, seconds: Array, *, unique: int) -> dict[str, Any]:
    """Describe times in seconds since 1970 (NaN where missing); so are deviation and histogram."""
    count, low, high, mean, _ = _sums(seconds)
    return {
        "name": name,
        "type": "datetime",
        "missing": len(seconds) - count,
        "unique": unique,
        "min": iso_text(low) if count else None,
        "max": iso_text(high) if count else None,
        "mean": None,
        **_spread(seconds, (low, high, mean), unit=False),
    }


def text_column(
    name: str,
    *,
    unique: int,
    missing: int = 0,
    categories: Sequence[str] | None = None,
    counts: Sequence[int] = (),
) -> dict[str, Any]:
    """Describe a column of words: its categories, ascending, and the rows of each, if it has any.

    Other text has a column of its own type.
    """
    column: dict[str, Any] = {
        "name": name,
        "type": "text" if categories is None else "categorical",
        "missing": missing,
        "unique": unique,
        **dict.fromkeys(("min", "max", "mean", "std")),
    }
    if categories is not None:
        column |= {"categories": list(categories), "counts": list(counts)}
    return column


def warn(column: dict[str, Any], rows: int, warnings: list[str]) -> None:
    """Say what a person would want to know before training on a column."""
    place, unique, missing = f"column {column['name']!r}", column["unique"], column["missing"]
    estimated = column.get("unique_estimated", False)
    if unique == 0:
        warnings.append(f"{place} has no values")
    elif unique == 1 and rows > 1:
        warnings.append(f"{place} has the same value in every row that has one")
    elif column["type"] == "text":
        values = ("about " if estimated else "") + counted(unique, "different value")
        warnings.append(f"{place} is text with {values}: it cannot be used")
    elif identifies(column, rows):
        different = f"{place} has a different value in every row"
        warnings.append(f"{different}: an id teaches nothing, data.exclude leaves it out")
    if unique and missing > rows * MOSTLY_MISSING:
        warnings.append(f"{place} has no value in {missing:,} of {rows:,} rows")


def identifies(column: dict[str, Any], rows: int) -> bool:
    """Tell whether a column is an id: a word of its own in each row, or the rows' numbers."""
    unique, estimated = column["unique"], column.get("unique_estimated", False)
    different = unique >= rows * NEARLY if estimated else unique == rows
    running = column["type"] == "integer" and column["max"] - column["min"] == rows - 1
    return different and rows >= ID_ROWS and (running or column["type"] == "categorical")


def _sums(numbers: Array) -> tuple[int, float, float, float, bool]:
    """Return how many there are, lowest, highest, mean, and whether all are whole."""
    count, total, whole = 0, 0.0, True
    low, high = math.inf, -math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(numbers), _CHUNK_ROWS):
            seen = _present(numbers[start : start + _CHUNK_ROWS])
            if seen.size:
                count += seen.size
                total += float(seen.sum())
                low, high = min(low, float(seen.min())), max(high, float(seen.max()))
                whole = whole and bool((seen == np.floor(seen)).all())
    return count, low, high, total / count if count else math.nan, whole


def _spread(numbers: Array, found: tuple[float, float, float], *, unit: bool) -> dict[str, Any]:
    """Return deviation and histogram; ``unit``: of whole numbers, in bins of at least 1."""
    low, high, mean = found
    if not (math.isfinite(mean) and math.isfinite(high - low)):
        return {"std": None}
    bins, edges = BINS, (low, high)
    if unit and high - low < BINS:
        bins, edges = int(high - low) + 1, (low - 0.5, high + 0.5)
    where = np.linspace(*edges, bins + 1)
    apart = bool((where[:-1] < where[1:]).all())  # not if all are alike, or nearly
    counts, squares, count = np.zeros(bins, np.int64), 0.0, 0
    with np.errstate(over="ignore"):
        for start in range(0, len(numbers), _CHUNK_ROWS):
            seen = _present(numbers[start : start + _CHUNK_ROWS])
            if apart:
                counts += np.histogram(seen, bins, edges)[0]
            count += seen.size
            seen = seen - mean
            squares += float(np.dot(seen, seen))
    drawn = {"edges": where.tolist(), "counts": counts.tolist()}
    if not apart:
        drawn = {"edges": [low, high], "counts": [count]}
    return {"std": _finite(math.sqrt(squares / count)), "histogram": drawn}


def _present(chunk: Array) -> Array:
    there = ~np.isnan(chunk)
    return chunk if there.all() else chunk[there]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
