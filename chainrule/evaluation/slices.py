"""How the answers fare by segment: categories of a column, or a fifth of its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.evaluation.intervals import Estimate, around, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from chainrule.kernels import Array

    Sums = tuple[int, float, float]  # rows, what they add, its squares

__all__ = ["slices"]

MAX_SLICES = 30
MAX_COLUMNS = 1_000
FIFTHS = 5
MIN_ROWS = 5  # of a slice
BLOCK_NUMBERS = 1_000_000


def slices(
    columns: Mapping[str, Sequence[Any] | None],
    read: Callable[[str], Array],
    each: Array,
    *,
    shares: bool,
) -> dict[str, Any]:
    """Return the worst slices first.

    ``columns`` are those to cut by, with the words of their codes, None for numbers; ``read``
    returns a column of the same rows. What is worst is judged by the end of the interval that
    speaks for the slice, so that a few unlucky rows do not come first.
    Shapes: each (rows,) what each row adds to a mean: a share of 1 that is right (``shares``), or
    the size of an error.
    """
    names = [*columns][:MAX_COLUMNS]
    categories = ((name, words) for name in names if (words := columns[name]) is not None)
    numbers = [name for name in names if columns[name] is None]
    found = [
        {**where, "rows": rows, **(share(total, rows) if shares else _mean(total, rows, squares))}
        for where, (rows, total, squares) in (
            *_by_category(categories, read, each),
            *_by_number(numbers, read, each),
        )
    ]
    found.sort(key=lambda one: one["high"] if shares else -one["low"])
    return {"columns": len(names), "count": len(found), "items": found[:MAX_SLICES]}


def _mean(total: float, rows: int, squares: float) -> Estimate:
    """Return a mean with its normal interval, from the sums of the values and their squares."""
    value = total / rows
    spread = max(squares / rows - value * value, 0.0)
    return around(value, math.sqrt(spread / (rows - 1)), 0.0)


def _by_category(
    columns: Iterable[tuple[str, Sequence[Any]]], read: Callable[[str], Array], each: Array
) -> Iterator[tuple[dict[str, Any], Sums]]:
    for name, words in columns:
        codes, size = read(name), len(words)
        codes = np.where(codes < 0, size + 1, codes)
        for place, sums in _groups(codes, each, size + 2, len(each)):
            known: dict[str, Any] = {"category": words[place]} if place < size else {}
            others = {size: {"unseen": True}, size + 1: {"missing": True}}
            yield {"column": name, **others.get(place, known)}, sums


def _by_number(
    names: list[str], read: Callable[[str], Array], each: Array
) -> Iterator[tuple[dict[str, Any], Sums]]:
    step = max(1, BLOCK_NUMBERS // len(each))
    for start in range(0, len(names), step):
        some = names[start : start + step]
        yield from _fifths(some, np.stack([read(name) for name in some], axis=1), each)


def _fifths(names: list[str], values: Array, each: Array) -> Iterator[tuple[dict[str, Any], Sums]]:
    """Cut columns at their own fifths; what is missing is a slice too.  Shapes: (rows, columns)."""
    ranked = np.sort(values, axis=0)  # NaN last
    known = len(values) - np.isnan(ranked).sum(axis=0)
    places, codes = np.arange(len(names)), np.zeros(values.shape, np.int64)
    edges = np.empty((FIFTHS, len(names)))
    for fifth in range(FIFTHS):
        edges[fifth] = ranked[np.maximum(known * (fifth + 1) // FIFTHS - 1, 0), places]
        if fifth < FIFTHS - 1:
            codes += values > edges[fifth]
    codes[np.isnan(values)] = FIFTHS
    flat = (codes + places * (FIFTHS + 1)).ravel()
    groups = _groups(flat, np.repeat(each, len(names)), (FIFTHS + 1) * len(names), len(each))
    for place, sums in groups:
        column, fifth = divmod(place, FIFTHS + 1)
        where: dict[str, Any] = {"column": names[column]}
        if fifth == FIFTHS:
            where["missing"] = True
        else:
            where["above"] = float(edges[fifth - 1, column]) if fifth else None
            where["to"] = float(edges[fifth, column])
        yield where, sums


def _groups(codes: Array, each: Array, size: int, everyone: int) -> Iterator[tuple[int, Sums]]:
    """Yield rows, sum and sum of squares of the groups that are neither few rows nor all."""
    count = np.bincount(codes, minlength=size)
    total = np.bincount(codes, each, minlength=size)
    squares = np.bincount(codes, np.square(each), minlength=size)
    for place in np.flatnonzero((count >= MIN_ROWS) & (count < everyone)).tolist():
        yield place, (int(count[place]), float(total[place]), float(squares[place]))
