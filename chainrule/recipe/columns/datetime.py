"""Dates and times as features: the year as a number, all that comes round as sine and cosine."""

from __future__ import annotations

import math
import operator
from collections import Counter
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from chainrule.errors import DataError, SpecError
from chainrule.recipe.columns.cells import NumericColumn, Problems, Source
from chainrule.recipe.gathering import BLOCK_ROWS, Present
from chainrule.recipe.values import read_datetime
from chainrule.spec.preprocessing import Part  # noqa: TC001 (a field's type)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.kernels import Array
    from chainrule.spec.preprocessing import DatetimeOptions

__all__ = ["PERIODS", "DatetimeColumn", "circle", "fit_datetime"]

# How many values a part has, and its first.
PERIODS: dict[Part, tuple[int, int]] = {
    "month": (12, 1),
    "day": (31, 1),
    "weekday": (7, 0),  # Monday
    "hour": (24, 0),
    "minute": (60, 0),
}
DAY_S = 86400
FIRST_S, LAST_S = read_datetime("0001-01-01"), read_datetime("9999-12-31T23:59:59.999999")


class DatetimeColumn(NumericColumn):
    """Parts of a time in UTC, as features side by side.

    The year is (year - offset) / scale. The other parts are sine and cosine of their place in their
    period if ``cyclic``, else a feature for each value. A missing time, or one beyond the years 1
    to 9999, counts as ``fill``; without one all parts are zeros. ``indicator``: a last feature is 1
    where the time is missing.
    """

    kind: Literal["datetime"] = "datetime"
    source: Source = Field("datetime", exclude_if=lambda source: source == "datetime")
    parts: list[Part] = Field(min_length=1)
    cyclic: bool
    offset: float
    scale: float = Field(gt=0.0)
    fill: float | None = None
    indicator: bool = Field(False, exclude_if=operator.not_)

    @property
    def width(self) -> int:
        return sum(map(self.width_of, self.parts)) + self.indicator

    def width_of(self, part: Part) -> int:
        """Return how many features a part has."""
        if part == "year":
            return 1
        return 2 if self.cyclic else PERIODS[part][0]

    def read(self, cells: Sequence[object], problems: Problems) -> Array:
        """Return the values of a prediction's cells, as the training file would give them."""
        source: Source = "number" if self.source == "number" else "datetime"
        return self.numbers_of(cells, problems, source)

    def write(self, times: Array, out: Array) -> None:
        """Write the features.  Shapes: times (rows,), out (rows, width), zeros so far."""
        missing = ~((times >= FIRST_S) & (times <= LAST_S))
        if self.indicator:
            out[:, -1] = missing
        if self.fill is None:
            there = np.flatnonzero(~missing)
            seconds = np.floor(times[there]).astype(np.int64)
        else:
            there = np.arange(len(times))
            seconds = np.floor(np.where(missing, self.fill, times)).astype(np.int64)
        start = 0
        for part in self.parts:
            width = self.width_of(part)
            values = _part(seconds, part)
            if part == "year":
                out[there, start] = (values - self.offset) / self.scale
            else:
                period, first = PERIODS[part]
                if self.cyclic:
                    out[there, start : start + width] = circle(period)[values - first]
                else:
                    out[there, start + values - first] = 1.0
            start += width


def circle(period: int) -> Array:
    """Return sine and cosine of each place in a period.  Shape: (period, 2)."""
    angles = (2 * math.pi * place / period for place in range(period))
    return np.array([(math.sin(angle), math.cos(angle)) for angle in angles])


def fit_datetime(  # noqa: PLR0913, PLR0917
    name: str,
    values: Present,
    options: DatetimeOptions,
    source: Source,
    by_code: list[float],
    place: str,
) -> DatetimeColumn:
    """Learn which parts of the training rows' times vary, and how to scale the year.

    Raises: SpecError at ``place``, if a constant is no time.
    """
    there = values.then(_within_calendar)
    given: list[Part] = list(dict.fromkeys(options.parts))
    counts: dict[Part, Counter[int]] = {part: Counter() for part in (*given, "year")}
    rows = 0
    for times in there.blocks():
        rows += len(times)
        for start in range(0, len(times), BLOCK_ROWS):
            _count_parts(times[start : start + BLOCK_ROWS], counts)
    varying = [part for part in given if len(counts[part]) > 1]
    offset, spread = _scaling(counts["year"])
    return DatetimeColumn(
        name=name,
        source=source,
        by_code=by_code,
        drops=options.missing.kind == "drop",
        parts=varying or given[:1],
        cyclic=options.cyclic,
        offset=offset,
        scale=spread,
        fill=_fill(there, options, place),
        indicator=options.indicator and rows < len(values.rows),
    )


def _within_calendar(times: Array) -> Array:
    """Take times beyond the years 1 to 9999 for missing ones."""
    return np.where((times >= FIRST_S) & (times <= LAST_S), times, np.nan)


def _count_parts(times: Array, counts: Mapping[Part, Counter[int]]) -> None:
    """Add how many times have each value of each part."""
    seconds = np.floor(times).astype(np.int64)
    for part, counter in counts.items():
        many = np.bincount(_part(seconds, part))
        found = np.flatnonzero(many)
        counter.update(dict(zip(found.tolist(), many[found].tolist(), strict=True)))


def _scaling(years: Counter[int]) -> tuple[float, float]:
    """Return mean and standard deviation, which is 1 where there is one year only."""
    rows = years.total()
    if not rows:
        return 0.0, 1.0
    mean = sum(year * count for year, count in years.items()) / rows
    variance = sum((year - mean) ** 2 * count for year, count in years.items()) / rows
    return mean, math.sqrt(variance) or 1.0


def _fill(there: Present, options: DatetimeOptions, place: str) -> float | None:
    missing = options.missing
    if missing.kind == "constant":
        try:
            fill = read_datetime(missing.value)
        except DataError as error:
            raise SpecError.at(f"{place}.missing.value", error.problems[0].detail) from None
        return None if math.isnan(fill) else fill
    if missing.kind == "median" and (times := there.whole()).size:
        return float(np.quantile(times, 0.5, method="lower"))
    return None


def _part(seconds: Array, part: Part) -> Array:
    """Return a part of each time.  Shapes: seconds since 1970 (rows,) -> (rows,)."""
    days = seconds // DAY_S
    match part:
        case "hour":
            return np.asarray(seconds // 3600 % 24)
        case "minute":
            return np.asarray(seconds // 60 % 60)
        case "weekday":
            return np.asarray((days + 3) % 7)  # 1970 began on a Thursday
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    found: Array = (dates - months).astype(np.int64) + 1
    if part == "year":
        found = months.astype("datetime64[Y]").astype(np.int64) + 1970
    elif part == "month":
        found = months.astype(np.int64) % 12 + 1
    return found
