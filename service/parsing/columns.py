"""What is told of a table's column, whoever has read or written it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.recipe.values import counted

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["number_column", "text_column", "warn"]

MAX_WHOLE = 2**53  # beyond it a float64 no longer tells neighbours apart
ID_ROWS = 20  # fewer rows than this say nothing about a column's being an id


def number_column(
    name: str, numbers: Array, warnings: list[str], *, unique: int, fractional: bool
) -> dict[str, Any]:
    """Describe numbers (NaN where missing), ``fractional`` if any is written as a fraction."""
    seen = numbers[~np.isnan(numbers)]
    integer = bool(seen.size) and not fractional and bool((seen == np.floor(seen)).all())
    if integer and np.abs(seen).max() >= MAX_WHOLE:
        warnings.append(f"column {name!r}: whole numbers beyond 2^53 are rounded")
        integer = False
    with np.errstate(over="ignore"):
        mean = float(seen.mean()) if seen.size else math.nan
    exact = int if integer else float
    low, high = (exact(seen.min()), exact(seen.max())) if seen.size else (None, None)
    return {
        "name": name,
        "type": "integer" if integer else "number",
        "missing": len(numbers) - len(seen),
        "unique": unique,
        "min": low,
        "max": high,
        "mean": mean if math.isfinite(mean) else None,
    }


def text_column(name: str, *, unique: int, missing: int = 0) -> dict[str, Any]:
    """Describe a column of words; its categories go beside."""
    return {
        "name": name,
        "type": "categorical",
        "missing": missing,
        "unique": unique,
        "min": None,
        "max": None,
        "mean": None,
    }


def warn(column: dict[str, Any], rows: int, warnings: list[str]) -> None:
    """Say what a person would want to know before training on a column."""
    place, unique = f"column {column['name']!r}", column["unique"]
    running = column["type"] == "integer" and column["max"] - column["min"] == rows - 1
    if unique == 0:
        warnings.append(f"{place} has no values")
    elif unique == 1 and rows > 1:
        warnings.append(f"{place} has the same value in every row that has one")
    elif column["type"] == "text":
        values = counted(unique, "different value")
        warnings.append(f"{place} is text with {values}: it cannot be used")
    elif unique == rows >= ID_ROWS and (running or column["type"] == "categorical"):
        warnings.append(f"{place} has a different value in every row: an id teaches nothing")
