"""Parquet: columns that have their types, some rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from chainrule.errors import DataError, step
from service.parsing.building import Block
from service.parsing.layout import MAX_COLUMNS
from service.parsing.marks import PLAIN
from service.parsing.result import FILE, check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from service.parsing.gathering import Column

__all__ = ["ParquetFile"]

BLOCK_ROWS = 1 << 16
_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


class ParquetFile:
    """A Parquet file, to be read as often as it takes.  Raises: DataError."""

    marks = PLAIN

    def __init__(self, path: Path, progress: Callable[[float], object] | None = None) -> None:
        self._path = path
        self._progress = progress
        self.warnings: list[str] = []
        self._rows = 0

    def foreseen_rows(self) -> int:
        """Return how many rows there are, as the file itself tells."""
        return self._rows

    def blocks(self, columns: Mapping[str, Column], *, again: bool) -> Iterator[Block]:
        """Yield all rows."""
        try:
            frame = pl.scan_parquet(self._path, glob=False)
            schema = frame.collect_schema()
            names = [name for name in _checked(schema) if not again or name in columns]
            total = self._rows = int(frame.select(pl.len()).collect().item())
        except _ERRORS as error:
            raise _broken(error) from None
        if not total:
            raise DataError.at(FILE, "has no rows")
        # By place: a name such as ``*`` or ``^a$`` would stand for several.
        places = {name: place for place, name in enumerate(schema)}
        chosen = frame.select(
            _read(pl.nth(places[name]), schema[name]).alias(name) for name in names
        )
        done = 0
        for batch in self._batches(chosen):
            for start in range(0, batch.height, BLOCK_ROWS):
                some = batch.slice(start, BLOCK_ROWS)
                first = done
                yield Block(
                    some.height,
                    dict(zip(names, some, strict=True)),
                    lambda row, first=first: f"row {first + row + 1:,}",  # type: ignore[misc]
                )
                done += some.height
                if self._progress is not None and not again:
                    self._progress(done / total)
        if done != total:
            raise AssertionError(f"polars read {done} rows of {total}")

    def _batches(self, frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        try:
            yield from frame.collect_batches(chunk_size=BLOCK_ROWS, maintain_order=True)
        except _ERRORS as error:
            raise _broken(error) from None


def _checked(schema: Mapping[str, pl.DataType]) -> list[str]:
    names = list(schema)
    if not names:
        raise DataError.at(FILE, "has no columns")
    if len(names) > MAX_COLUMNS:
        raise DataError.at(FILE, f"has {len(names):,} columns, at most {MAX_COLUMNS:,}")
    for number, (name, dtype) in enumerate(schema.items(), 1):
        if not name.strip() or "\0" in name:
            raise DataError.at(FILE, f"column {number} has no name")
        check_name(name, f"column {number}")
        if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Time):
            detail = f"column {name!r} holds {dtype}: numbers, text, booleans or dates can be used"
            raise DataError.at(f"columns{step(name)}", detail)
    return names


def _read(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:  # noqa: PLR0911 one for each kind
    """Return a column as text, whole numbers, numbers or times in UTC."""
    if dtype.is_integer():
        wide = dtype in (pl.UInt64, pl.Int128, pl.UInt128)
        return column.cast(pl.String if wide else pl.Int64)
    if dtype.is_float() or dtype.is_decimal():
        return column.cast(pl.Float64)
    if dtype == pl.Boolean:
        return pl.when(column).then(pl.lit("true")).when(~column).then(pl.lit("false"))
    if dtype == pl.Datetime and getattr(dtype, "time_zone", None):
        return column.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Datetime("us"))
    if dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us"))
    if dtype == pl.Duration:
        return column.dt.total_microseconds() / 1e6
    return column.cast(pl.String)


def _broken(error: BaseException) -> DataError:
    said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return DataError.at(FILE, f"is no whole Parquet file: {said}")
