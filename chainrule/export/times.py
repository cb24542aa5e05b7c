"""The parts of a time as ONNX operators, of seconds since 1970: ONNX has no calendar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.export.writer import DOUBLE, INT64
from chainrule.recipe.columns.datetime import FIRST_S, LAST_S, PERIODS, circle

if TYPE_CHECKING:
    from chainrule.export.scratch import Scratch
    from chainrule.recipe.columns import DatetimeColumn
    from chainrule.spec.preprocessing import Part

__all__ = ["write_parts"]


def write_parts(scratch: Scratch, column: DatetimeColumn) -> str:
    """Write a column's features; the cells are seconds, NaN where missing."""
    early = scratch.op("GreaterOrEqual", column.name, scratch.constant(FIRST_S))
    late = scratch.op("LessOrEqual", column.name, scratch.constant(LAST_S))
    there = scratch.op("And", early, late)
    fill = scratch.constant(0.0 if column.fill is None else column.fill)
    seconds = scratch.op("Floor", scratch.op("Where", there, column.name, fill))
    parts = _parts(scratch, seconds)
    blocks = []
    for part in column.parts:
        value = parts[part]
        if part == "year":
            year = scratch.op("Cast", value, to=DOUBLE)
            off = scratch.op("Sub", year, scratch.constant(column.offset))
            blocks.append(scratch.op("Div", off, scratch.constant(column.scale)))
            continue
        period, first = PERIODS[part]
        place = scratch.op("Sub", value, scratch.whole(first))
        if column.cyclic:
            found = scratch.op("Gather", scratch.constant(circle(period)), place, axis=0)
            blocks.append(scratch.op("Squeeze", found, scratch.whole([1])))
        else:
            same = scratch.op("Equal", place, scratch.whole([[*range(period)]]))
            blocks.append(scratch.op("Cast", same, to=DOUBLE))
    features = scratch.op("Concat", *blocks, axis=1)
    if column.fill is None:
        features = scratch.op("Mul", features, scratch.op("Cast", there, to=DOUBLE))
    if column.indicator:
        missing = scratch.op("Cast", scratch.op("Not", there), to=DOUBLE)
        features = scratch.op("Concat", features, missing, axis=1)
    return features


def _parts(scratch: Scratch, seconds: str) -> dict[Part, str]:
    """Write the parts of whole seconds; what no feature needs is dropped later.

    Source: Howard Hinnant, chrono-compatible low-level date algorithms, civil_from_days.
    """

    def op(kind: str, left: str, right: str | int) -> str:
        return scratch.op(kind, left, scratch.whole(right) if isinstance(right, int) else right)

    day = scratch.op("Floor", scratch.op("Div", seconds, scratch.constant(86400.0)))
    days = scratch.op("Cast", day, to=INT64)
    whole = scratch.op("Cast", seconds, to=INT64)
    of_day = op("Sub", whole, op("Mul", days, 86400))
    z = op("Add", days, 719468)  # days since March 1st of the year 0
    era = op("Div", z, 146097)
    doe = op("Sub", z, op("Mul", era, 146097))
    leaps = op(
        "Sub", op("Div", doe, 36524), op("Add", op("Div", doe, 1460), op("Div", doe, 146096))
    )
    yoe = op("Div", op("Add", doe, leaps), 365)
    before = op("Sub", op("Add", op("Mul", yoe, 365), op("Div", yoe, 4)), op("Div", yoe, 100))
    doy = op("Sub", doe, before)
    mp = op("Div", op("Add", op("Mul", doy, 5), 2), 153)  # months since March
    first = op("Div", op("Add", op("Mul", mp, 153), 2), 5)
    wrapped = scratch.op("Cast", op("GreaterOrEqual", mp, 10), to=INT64)
    month = op("Sub", op("Add", mp, 3), op("Mul", wrapped, 12))
    return {
        "year": op("Add", op("Add", yoe, op("Mul", era, 400)), wrapped),
        "month": month,
        "day": op("Add", op("Sub", doy, first), 1),
        "weekday": op("Mod", op("Add", days, 3 + 7 * 200_000), 7),
        "hour": op("Div", of_day, 3600),
        "minute": op("Mod", op("Div", of_day, 60), 60),
    }
