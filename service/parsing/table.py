"""A CSV file in blocks: numbers read at once where a column has nothing else, the rest as text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from chainrule.errors import DataError
from chainrule.recipe.values import MISSING
from service.parsing import layout
from service.parsing.building import Block
from service.parsing.layout import (
    MAX_COLUMNS,
    ONE_LINE,
    Dialect,
    Records,
    check_width,
    find_records,
    read_header,
)
from service.parsing.result import FILE
from service.parsing.text import TextFile, count_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from service.parsing.gathering import Column

__all__ = ["CsvFile"]

_PATIENCE = 3  # blocks that contradict a column, before it is read as text only


class CsvFile:
    """A CSV file, to be read as often as it takes.  Raises: DataError at ``file``."""

    def __init__(
        self,
        path: Path,
        dialect: Dialect,
        encoding: str | None = None,
        progress: Callable[[float], object] | None = None,
        repairs: Sequence[str] = (),
    ) -> None:
        self.marks = dialect.marks
        self._path = path
        self._dialect = dialect
        self._encoding = encoding
        self._progress = progress
        self._repairs = repairs
        self._markers: set[str] = set()  # of missing values, as this file writes them
        self._refused: Counter[str] = Counter()
        self._blank_lines = 0
        self._names: list[str] = []

    @property
    def warnings(self) -> list[str]:
        """How it is read where that is not RFC 4180, and what was left out."""
        said = [*self._repairs]
        if self._blank_lines:
            said.append(f"blank lines left out: {self._blank_lines:,}")
        if len(self._names) == 1 and (found := [c for c in ";\t|" if c in self._names[0]]):
            said.append(f"it has one column only: is it separated by {found[0]!r}, in each line?")
        return said

    def foreseen_rows(self) -> int:
        """Return how many rows there are, if each is a line."""
        return count_lines(self._path) - self._dialect.header - self._dialect.announced

    def blocks(self, columns: Mapping[str, Column], *, again: bool) -> Iterator[Block]:
        """Yield all rows; a column's ``straight`` says how its cells may be read."""
        self._blank_lines, names, any_rows = 0, list[str](), False
        announced = self._dialect.announced
        with TextFile(self._path, self._encoding, None if again else self._progress) as file:
            for found in find_records(file, self._dialect, layout.BLOCK_BYTES):
                blank = found.blank
                self._blank_lines += int(np.count_nonzero(blank))
                rows = np.flatnonzero(~blank)
                start = 0
                if announced and rows.size:
                    announced, start, rows = False, int(rows[0]) + 1, rows[1:]
                if not names and rows.size:
                    names = self._names = self._head(found, int(rows[0]))
                    if self._dialect.header:
                        start, rows = int(rows[0]) + 1, rows[1:]
                if not rows.size:
                    continue
                check_width(found, rows, len(names), self._dialect.header)
                any_rows = True
                body = _body(found, start, blank)
                wanted = [n for n in names if n in columns] if again else names
                yield self._block(found, rows, body, wanted, {} if again else columns)
        if not names:
            raise DataError.at(FILE, "the file is empty")
        if not any_rows:
            raise DataError.at(FILE, f"has a header but no rows{ONE_LINE}")

    def _head(self, found: Records, first: int) -> list[str]:
        if self._dialect.header:
            text = found.data[found.starts[first] : found.ends[first]]
            return read_header(text, found.line_of(first), self._dialect)
        if (width := int(found.fields[first])) > MAX_COLUMNS:
            raise DataError.at(FILE, f"has {width:,} columns, at most {MAX_COLUMNS:,}")
        return [f"column_{number + 1}" for number in range(width)]

    def _block(
        self,
        found: Records,
        rows: np.ndarray[tuple[int], np.dtype[np.intp]],
        body: bytes,
        wanted: list[str],
        columns: Mapping[str, Column],
    ) -> Block:
        dtypes: dict[str, pl.DataType] = dict.fromkeys(wanted, pl.String())
        as_text = set[type[pl.DataType]]()
        if self._dialect.quote.encode() in body:
            as_text.add(pl.Enum)  # no word would be known
        if self.marks.decimal == "," and b"." in body:
            as_text.add(pl.Float64)  # polars takes a point for a decimal mark too
        for name in wanted:
            straight = columns[name].straight if name in columns else None
            if straight is not None and self._refused[name] < _PATIENCE:
                dtypes[name] = pl.String() if straight.base_type() in as_text else straight
        frame = self._read(body, dtypes)
        if frame is None:
            frame = self._as_text(body, dtypes)
        if frame.shape != (len(rows), len(wanted)):
            raise AssertionError(f"polars read {frame.shape}, the file has {len(rows)} rows")
        return Block(
            len(rows),
            dict(zip(wanted, frame, strict=True)),
            lambda row: f"line {found.line_of(int(rows[row]))}",
        )

    def _read(self, body: bytes, dtypes: Mapping[str, pl.DataType]) -> pl.DataFrame | None:
        """Read cells as what they should be; None, if one is something else."""
        keys = {name: f"column_{index}" for index, name in enumerate(self._names)}
        schema: dict[str, pl.DataType] = dict.fromkeys(keys.values(), pl.String())
        schema |= {keys[name]: dtype for name, dtype in dtypes.items()}
        typed = any(dtype != pl.String for dtype in dtypes.values())
        try:
            frame = pl.read_csv(
                body,
                has_header=False,
                schema=schema,
                columns=[keys[name] for name in dtypes] if len(dtypes) < len(keys) else None,
                separator=self._dialect.delimiter,
                quote_char=self._dialect.quote if self._dialect.quote.encode() in body else None,
                null_values=sorted(self._markers) or None,
                decimal_comma=self.marks.decimal == ",",
            )
        except pl.exceptions.ComputeError:
            if not typed:
                raise
            return None
        floats = [keys[name] for name, dtype in dtypes.items() if dtype == pl.Float64]
        if floats and not all(frame.select(pl.col(floats).is_finite().all()).row(0)):
            return None
        return frame

    def _as_text(self, body: bytes, dtypes: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Read a block that contradicts what was seen before, and learn from it."""
        frame = self._read(body, dict.fromkeys(dtypes, pl.String()))
        if frame is None:
            raise AssertionError("text is read as text")
        for (name, dtype), series in zip(dtypes.items(), frame, strict=True):
            if dtype != pl.String:
                read = series.cast(dtype, strict=False)
                if dtype == pl.Float64:
                    read = read.fill_nan(None)
                others = series.filter(series.is_not_null() & read.is_null())
                found = set(others.unique().to_list())
                markers = found & MISSING
                self._markers |= markers
                self._refused[name] += found != markers
        return frame


def _body(found: Records, start: int, blank: np.ndarray[tuple[int], np.dtype[np.bool]]) -> bytes:
    """Return the text of the records from ``start`` on, without blank lines."""
    begin = int(found.ends[start - 1]) + 1 if start else 0
    blanks = np.flatnonzero(blank[start:]) + start
    if not blanks.size:
        return found.data[begin:]
    keep = np.ones(len(found.data) + 1, bool)
    keep[found.starts[blanks]] = keep[found.ends[blanks]] = False
    keep[:begin] = False
    return np.frombuffer(found.data, np.uint8)[keep[:-1]].tobytes()
