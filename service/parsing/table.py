"""A CSV file as typed columns: numbers with NaN for missing, categories as codes with -1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from chainrule.errors import DataError, Problem, step
from chainrule.recipe.values import BLANKS, MISSING, shown
from service.parsing.columns import number_column, text_column, warn
from service.parsing.layout import Layout, lay_out
from service.parsing.result import FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.kernels import Array

__all__ = ["read_csv"]

NUMERIC_SHARE = 0.9  # of the values that are not missing
MAX_CATEGORIES = 10_000
MAX_CATEGORIES_IN_ALL = 100_000
MAX_LABEL_CHARACTERS = 1000
MAX_PROBLEMS = 20
_STRIPPED = tuple(bytes([mark]) for mark in BLANKS.replace("\n", '"').encode())
_FRACTIONAL = r"[0-9][.eE]|\.[0-9]"


@dataclass(frozen=True)
class _Cells:
    """A column: its texts (null where missing), and their numbers (NaN where they are none)."""

    name: str
    texts: pl.Series
    numbers: Array
    unique: int  # numbers
    fractional: bool  # written with a point or an exponent somewhere


def read_csv(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the schema and the tensors of a table.

    Raises: DataError at ``file`` or at the first bad cell of each column, naming line and column.
    """
    layout = lay_out(data)
    columns: list[dict[str, Any]] = []
    tensors: dict[str, Array] = {}
    warnings = _layout_warnings(layout)
    problems: list[Problem] = []
    for cells in _read_cells(layout):
        try:
            column, values = _column(cells, layout, warnings)
        except DataError as error:
            problems += error.problems
            if len(problems) >= MAX_PROBLEMS:
                break
            continue
        columns.append(column)
        warn(column, layout.rows, warnings)
        if values is not None:
            tensors[cells.name] = values
    if problems:
        raise DataError(*problems)
    _check_categories(columns)
    schema = {"kind": "table", "rows": layout.rows, "columns": columns, "warnings": warnings}
    return schema, tensors


def _read_cells(layout: Layout) -> Iterator[_Cells]:
    """Read all columns at once: ten thousand of them one by one would take half a minute."""
    names = [str(index) for index in range(len(layout.names))]
    schema = dict.fromkeys(names, pl.String)
    texts = pl.read_csv(layout.body, has_header=False, schema=schema)
    if texts.shape != (layout.rows, len(names)):
        raise AssertionError(f"polars read {texts.shape}, the file has {layout.rows} rows")
    if any(mark in layout.body for mark in _STRIPPED):
        texts = texts.select(pl.all().str.strip_chars(BLANKS))
    numbers = texts.select(pl.all().cast(pl.Float64, strict=False).fill_nan(None))
    uniques = numbers.select(pl.all().drop_nulls().n_unique()).row(0)
    fractional = texts.select(pl.all().str.contains(_FRACTIONAL).any()).row(0)
    for index, name in enumerate(layout.names):
        text, number = texts.to_series(index), numbers.to_series(index)
        if number.null_count() > text.null_count():
            text = text.set(text.is_in(list(MISSING)), None)
        # Adding zero turns -0.0 into 0.0.
        yield _Cells(name, text, number.to_numpy() + 0.0, uniques[index], bool(fractional[index]))


def _column(
    cells: _Cells, layout: Layout, warnings: list[str]
) -> tuple[dict[str, Any], Array | None]:
    """Decide a column's type and read it; text that is no category has no tensor."""
    present = len(cells.texts) - cells.texts.null_count()
    seen = cells.numbers[~np.isnan(cells.numbers)]
    if len(seen) < NUMERIC_SHARE * present:
        return _categories(cells)
    row = None
    if len(seen) < present:
        row = (cells.texts.is_not_null() & pl.Series(np.isnan(cells.numbers))).arg_true()[0]
        detail = f"is not a number ({len(seen):,} of {present:,} values are)"
    elif seen.size and not np.isfinite(seen).all():
        row = int(np.flatnonzero(np.isinf(cells.numbers))[0])
        detail = "is not a finite number"
    if row is not None:
        place = f"line {layout.line(row)}, column {cells.name!r}"
        detail = f"{place}: {shown(cells.texts[row])} {detail}"
        raise DataError.at(f"rows[{row}]{step(cells.name)}", detail)
    column = number_column(
        cells.name, cells.numbers, warnings, unique=cells.unique, fractional=cells.fractional
    )
    return column, cells.numbers


def _categories(cells: _Cells) -> tuple[dict[str, Any], Array | None]:
    text = cells.texts
    labels = text.drop_nulls().unique().sort()
    column = text_column(cells.name, unique=len(labels), missing=text.null_count())
    longest = int(labels.str.len_chars().to_numpy().max())
    if len(labels) > MAX_CATEGORIES or longest > MAX_LABEL_CHARACTERS:
        return {**column, "type": "text"}, None
    codes = text.cast(pl.Enum(labels)).to_physical().cast(pl.Int32).fill_null(-1)
    return {**column, "categories": labels.to_list()}, codes.to_numpy()


def _check_categories(columns: list[dict[str, Any]]) -> None:
    counts = {c["name"]: len(c["categories"]) for c in columns if "categories" in c}
    if sum(counts.values()) > MAX_CATEGORIES_IN_ALL:
        widest = max(counts, key=lambda name: counts[name])
        detail = f"the text columns have {sum(counts.values()):,} different values in all, at most"
        hint = f"leave some out, such as {widest!r} with {counts[widest]:,}"
        raise DataError.at(FILE, f"{detail} {MAX_CATEGORIES_IN_ALL:,} can be kept: {hint}")


def _layout_warnings(layout: Layout) -> list[str]:
    warnings = []
    if layout.blank_lines:
        warnings.append(f"blank lines left out: {layout.blank_lines:,}")
    if len(layout.names) == 1 and (found := [c for c in ";\t|" if c in layout.names[0]]):
        hint = f"it has one column only: is it separated by {found[0]!r}? Only commas are read"
        warnings.append(hint)
    if all(name.replace(".", "", 1).lstrip("+-").isdigit() for name in layout.names):
        warnings.append("the column names are all numbers: is the header line missing?")
    return warnings
