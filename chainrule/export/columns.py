"""A recipe's columns as ONNX operators: raw cells in, features out, as the recipe computes them."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.export.scratch import Scratch
from chainrule.export.times import write_parts
from chainrule.export.writer import DOUBLE, FLOAT, INT64, STRING
from chainrule.recipe.columns import CategoryColumn, DatetimeColumn, NumberColumn
from chainrule.recipe.columns.number import signed_log
from chainrule.recipe.values import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.export.writer import Writer
    from chainrule.recipe.inputs import TableInputs
    from chainrule.recipe.scaled import ArrayScale

__all__ = ["ML", "cell_types", "write_features", "write_scaled"]

ML = "ai.onnx.ml"


def cell_types(tables: Sequence[TableInputs]) -> dict[str, int]:
    """Return the type of each column's cells: text for words, else float64, NaN where missing.

    Raises: SpecError at ``inputs``, if a column has an encoding that ONNX has no operator for.
    """
    types = {}
    for column in (column for table in tables for column in table.columns):
        if isinstance(column, CategoryColumn) and column.encoding.kind == "hash":
            detail = f"column {column.name!r} is hashed, which ONNX cannot: take inputs=features"
            raise SpecError.at("inputs", detail)
        types[column.name] = STRING if column.source == "category" else DOUBLE
        if column.source == "category" and not isinstance(column, CategoryColumn):
            detail = f"column {column.name!r} is text read as numbers: take inputs=features"
            raise SpecError.at("inputs", detail)
    return types


def write_features(table: TableInputs, writer: Writer, name: str) -> str:
    """Write what makes a table's features of its columns, of shape (batch, 1) each.

    Returns: the name of the features, float32.
    """
    scratch = Scratch(writer, name)
    widths = [column.width for column in table.columns]
    places = [0, *accumulate(widths)][:-1]
    blocks: list[str] = []
    order: list[int] = []
    numbers = [
        (c, p) for c, p in zip(table.columns, places, strict=True) if isinstance(c, NumberColumn)
    ]
    if numbers:
        blocks += _write_numbers(scratch, [column for column, _ in numbers])
        order += [place for _, place in numbers]
        order += [place + 1 for column, place in numbers if column.indicator]
    for column, place in zip(table.columns, places, strict=True):
        if isinstance(column, CategoryColumn):
            blocks.append(_write_category(Scratch(writer, column.name), column))
        elif isinstance(column, DatetimeColumn):
            blocks.append(write_parts(Scratch(writer, column.name), column))
        else:
            continue
        order += range(place, place + column.width)
    together = scratch.op("Concat", *blocks, axis=1)
    back = np.argsort(order)  # features in the recipe's order
    if (back != np.arange(len(back))).any():
        together = scratch.op("Gather", together, scratch.whole(back), axis=1)
    return scratch.op("Cast", together, to=FLOAT)


def write_scaled(scale: ArrayScale, writer: Writer, name: str) -> str:
    """Write what scales an array's raw numbers.  Returns: the name of the features, float32."""
    scratch = Scratch(writer, name)
    wide = scratch.op("Cast", name, to=DOUBLE)
    centred = scratch.op("Sub", wide, scratch.constant(scale.mean))
    return scratch.op("Cast", scratch.op("Div", centred, scratch.constant(scale.std)), to=FLOAT)


def _write_numbers(scratch: Scratch, columns: Sequence[NumberColumn]) -> list[str]:
    """Write all numbers side by side, and their indicators."""
    raw = scratch.op("Concat", *(column.name for column in columns), axis=1)
    logs = np.array([column.log for column in columns])
    values = raw
    if logs.any():
        size = scratch.op("Add", scratch.op("Abs", raw), scratch.constant(1.0))
        log = scratch.op("Mul", scratch.op("Sign", raw), scratch.op("Log", size))
        values = scratch.op("Where", scratch.constant(logs[None], np.bool_), log, raw)
    fills = [signed_log(np.array([c.fill])).item() if c.log else c.fill for c in columns]
    missing = scratch.op("IsNaN", raw)
    filled = scratch.op("Where", missing, scratch.constant([fills]), values)
    offset = scratch.constant([[column.offset for column in columns]])
    scale = scratch.constant([[column.scale for column in columns]])
    scaled = scratch.op("Div", scratch.op("Sub", filled, offset), scale)
    indicators = [index for index, column in enumerate(columns) if column.indicator]
    if not indicators:
        return [scaled]
    chosen = scratch.op("Gather", missing, scratch.whole(indicators), axis=1)
    return [scaled, scratch.op("Cast", chosen, to=DOUBLE)]


def _write_category(scratch: Scratch, column: CategoryColumn) -> str:
    """Write the places of categories, and their encoding."""
    if column.source == "category":
        known: dict[str, Any] = dict.fromkeys(sorted(MISSING), column.missing)
        if column.stand_in is not None:
            known[column.stand_in] = column.missing
        known |= dict(zip(column.categories, column.own_places, strict=True))
        places = scratch.op(
            "LabelEncoder",
            column.name,
            domain=ML,
            keys_strings=[*known],
            values_int64s=[*known.values()],
            default_int64=column.unknown,
        )
    else:
        places = _write_places_of_numbers(scratch, column)
    if column.encoding.kind == "one_hot":
        there = scratch.op("Equal", places, scratch.whole([[*range(column.size)]]))
        return scratch.op("Cast", there, to=DOUBLE)
    after = scratch.op("Cast", scratch.op("Add", places, scratch.whole(1)), to=DOUBLE)
    if column.encoding.kind == "embedding":
        return after
    return scratch.op("Div", after, scratch.constant(float(max(column.size, 1))))


def _write_places_of_numbers(scratch: Scratch, column: CategoryColumn) -> str:
    """Write the places of categories that are numbers."""
    missing = scratch.op("IsNaN", column.name)
    if not column.codes:
        places = scratch.op("Mul", scratch.op("Cast", missing, to=INT64), scratch.whole(0))
        places = scratch.op("Add", places, scratch.whole(column.unknown))
    else:
        same = scratch.op("Equal", column.name, scratch.constant([column.codes]))
        beyond = np.array([[place - column.unknown] for place in column.own_places])
        sums = scratch.op("MatMul", scratch.op("Cast", same, to=DOUBLE), scratch.constant(beyond))
        places = scratch.op("Cast", sums, to=INT64)
        places = scratch.op("Add", places, scratch.whole(column.unknown))
    return scratch.op("Where", missing, scratch.whole(column.missing), places)
