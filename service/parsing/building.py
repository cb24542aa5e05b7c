"""A table from its blocks, whatever the file's format: schema, warnings and prepared file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from chainrule.errors import DataError, Problem, step
from chainrule.recipe.values import shown, unknown_name
from service.parsing.alike import Rough, alike_by_chance, repeats, rough_repeats, roughly
from service.parsing.columns import (
    datetime_column,
    identifies,
    number_column,
    text_column,
    warn,
)
from service.parsing.datetimes import seconds_of
from service.parsing.gathering import TYPES, Column, Texts, read_texts
from service.parsing.marks import DECLARED, Marks, ambiguous, otherwise
from service.parsing.result import FILE
from service.parsing.sketch import RowHashes
from service.parsing.spool import Spool, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["Block", "Source", "build"]

MAX_ROWS = 100_000_000
MAX_CATEGORIES_IN_ALL = 100_000
MAX_PROBLEMS = 20
_MOST_DISTINCT = 1 << 16  # of a column: more different values are estimated
_DISTINCT_IN_ALL = 1 << 21
_THREADS = 2
_RENUMBERED = 1 << 16  # at a time


@dataclass(frozen=True)
class Block:
    """Some rows of a file.  ``columns``: text as it is there, numbers, or ``Datetime("us")``.

    A column that is not in it has no value in these rows. ``place`` tells where a row (from 0) is.
    """

    rows: int
    columns: dict[str, pl.Series]
    place: Callable[[int], str]


class Source(Protocol):
    """A file that gives its rows in blocks, as often as it is asked."""

    marks: Marks  # of numbers that are written as text

    @property
    def warnings(self) -> list[str]:
        """What had to be repaired in what has been read."""
        ...

    def foreseen_rows(self) -> int:
        """Return how many rows there seem to be, once some have been read."""
        ...

    def blocks(self, columns: Mapping[str, Column], *, again: bool) -> Iterator[Block]:
        """Yield all rows.  ``columns`` tell how each may be read; ``again``: only these, as text.

        Raises: DataError.
        """
        ...


def build(source: Source, prepared: Path, types: Mapping[str, str]) -> dict[str, Any]:
    """Write the prepared file of a table, and return its schema.

    ``types``: what some columns are, whatever they look like.
    Raises: DataError at ``file``, at the first bad cell of each column, or at ``types``; OSError.
    """
    _check_types(types)
    with closing(Spool(prepared)) as spool, closing(RowHashes(prepared)) as hashes:
        table = _Table(spool, hashes, source.marks, types)
        for number, block in enumerate(_ahead(source.blocks(table.columns, again=False))):
            table.add(block)
            if number == 0:
                spool.reserve(table.tensors(), source.foreseen_rows())
        if changed := table.contradicted():
            done = 0
            for block in source.blocks(changed, again=True):
                table.refine(block, changed, done)
                done += block.rows
        return table.finish(source.warnings)


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """Yield blocks while a thread reads the next; the first tells how the others can be read."""
    block = next(blocks, None)
    if block is None:
        return
    yield block
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block


class _Table:
    def __init__(
        self, spool: Spool, hashes: RowHashes, marks: Marks, types: Mapping[str, str]
    ) -> None:
        self.columns: dict[str, Column] = {}
        self._spool = spool
        self._hashes = hashes
        self._marks = marks
        self._types = types
        self._rows = 0

    def add(self, block: Block) -> None:
        """Add rows, and columns that were not there before."""
        for name in block.columns:
            if name not in self.columns:
                self.columns[name] = self._new(name, len(self.columns))
                self.columns[name].skip(self._rows)
        total = np.zeros(block.rows, np.uint64)
        texts = self._numbers(block)
        for position, (name, column) in enumerate(self.columns.items()):
            series = block.columns.get(name)
            if series is None:
                hashes = column.skip(block.rows)
            elif series.dtype in (pl.String, pl.Enum):
                hashes = column.add_texts(series, block.place, texts.get(name))
            else:
                hashes = _add_typed(column, series, block.place)
            total += self._hashes.mixed(position, hashes)
        self._hashes.append(total)
        self._rows += block.rows
        if self._rows > MAX_ROWS:
            raise DataError.at(FILE, f"has more than {MAX_ROWS:,} rows")

    def _numbers(self, block: Block) -> dict[str, Texts]:
        """Read the texts of a block whose numbers are wanted, all of the same marks at once."""
        alike: dict[Marks, list[str]] = {}
        for name, series in block.columns.items():
            if series.dtype == pl.String and self.columns[name].loose:
                alike.setdefault(self.columns[name].marks, []).append(name)
        found: dict[str, Texts] = {}
        for marks, names in alike.items():
            frame = pl.DataFrame([block.columns[name].alias(name) for name in names])
            found |= zip(names, read_texts(frame, marks), strict=True)
        return found

    def contradicted(self) -> dict[str, Column]:
        """Return anew the columns that turned out to be no numbers, as words."""
        found = {}
        for position, (name, column) in enumerate(self.columns.items()):
            if column.decided() != column.mode and column.decided() in ("categorical", "text"):
                found[name] = self._new(name, position)
                found[name].mode = "categorical"
        return found

    def refine(self, block: Block, columns: Mapping[str, Column], done: int) -> None:
        """Add rows again to columns that are read again.  ``done``: the rows before these."""
        positions = {name: position for position, name in enumerate(self.columns)}
        for name, column in columns.items():
            series = block.columns.get(name)
            if series is None:
                hashes = column.skip(block.rows)
            else:
                hashes = column.add_texts(series, block.place)
            self._hashes.refine(done, self._hashes.mixed(positions[name], hashes))
        if done + block.rows == self._rows:
            self.columns.update(columns)

    def tensors(self) -> dict[str, Tensor]:
        """Return the columns that have begun to be written."""
        return {n: c.tensor for n, c in self.columns.items() if c.tensor is not None}

    def finish(self, repairs: list[str]) -> dict[str, Any]:
        """Decide the types, finish the file, and describe it all."""
        self._check_names()
        problems: list[Problem] = []
        for column in self.columns.values():
            problems += _problems(column)
        if problems:
            raise DataError(*problems[:MAX_PROBLEMS])
        labels = {n: c.ordered() for n, c in self.columns.items() if c.decided() == "categorical"}
        _check_categories({name: len(words) for name, (words, _) in labels.items()})
        tensors = {n: self._tensor(c) for n, c in self.columns.items() if c.decided() != "text"}
        self._spool.settle(tensors, self._rows)
        values = {name: self._spool.values(name, tensors[name].dtype) for name in tensors}

        def describe(name: str) -> tuple[dict[str, Any], list[str]]:
            column, said = self.columns[name], list[str]()
            if name in labels:
                _renumber(values[name], labels[name][1])
            elif name in values:
                return _describe_numbers(column, values[name], said), said
            return _describe_words(column, labels.get(name)), said

        columns, warnings = [], list(repairs)
        with ThreadPoolExecutor(_THREADS) as pool:
            counting = pool.submit(repeats, self._hashes)
            for described, said in pool.map(describe, self.columns):
                columns.append(described)
                warnings += said
                warn(described, self._rows, warnings)
                name = described["name"]
                warnings += _doubted(self.columns[name], labels.get(name, ([],))[0])
            same, said = counting.result()
        warnings += [*said, *self._almost(values, columns, same)]
        return {"kind": "table", "rows": self._rows, "columns": columns, "warnings": warnings}

    def _almost(
        self, values: Mapping[str, Array], described: list[dict[str, Any]], same: int
    ) -> list[str]:
        """Tell of rows that are the same where small differences and ids do not count."""
        loose, chance = list[Rough](), 1.0
        for position, one in enumerate(described):
            name = one["name"]
            is_id = identifies(one, self._rows)
            if not is_id:
                chance *= alike_by_chance(self._rows, one["unique"] + bool(one["missing"]))
            if name in values:
                loose += roughly(position, one, values[name], ignored=is_id)
        return rough_repeats(self._hashes, loose, same, chance)

    def _new(self, name: str, position: int) -> Column:
        limit = max(1024, min(_MOST_DISTINCT, _DISTINCT_IN_ALL // (position + 1)))
        given = self._types.get(name)
        marks, wanted = self._marks, given
        if given in DECLARED:
            marks, wanted = DECLARED[given], "number"
        forced = "number" if wanted == "integer" else wanted
        column = Column(name, self._spool, limit, marks, forced)
        column.wanted = wanted
        return column

    def _tensor(self, column: Column) -> Tensor:
        if column.tensor is None:  # nothing was ever there
            words = column.decided() == "categorical"
            column.tensor = Tensor(
                self._spool, np.int32 if words else np.float64, -1 if words else np.nan
            )
            column.tensor.skip(self._rows)
        return column.tensor

    def _check_names(self) -> None:
        unknown = [name for name in self._types if name not in self.columns]
        if unknown:
            names = [*self.columns]
            raise DataError(
                *(
                    Problem(f"types{step(name)}", unknown_name("column", name, names))
                    for name in unknown[:MAX_PROBLEMS]
                )
            )


def _renumber(codes: Array, places: Array) -> None:
    """Give words the numbers of their places in the alphabet, in the prepared file itself."""
    if (places[:-1] != np.arange(len(places) - 1)).any():
        for start in range(0, len(codes), _RENUMBERED):
            some = codes[start : start + _RENUMBERED]
            some[:] = places[some]


def _doubted(column: Column, labels: Sequence[str]) -> Iterator[str]:
    """Ask about words that may be numbers or dates, had they been written as such."""
    first = column.firsts.get("number")
    if column.wanted is not None or column.decided() not in ("categorical", "text") or not first:
        return
    read = f"column {column.name!r} is read as words"
    if hint := otherwise(labels or [first.text]):
        yield f"{read}, as {shown(first.text)}: {hint}"
    elif ambiguous(first.text):
        asked = f"{read}: is {shown(first.text)} a number?"
        yield f'{asked} Give its type, "decimal_point" or "decimal_comma"'


def _add_typed(column: Column, series: pl.Series, place: Callable[[int], str]) -> Array:
    """Add values that the file itself has as numbers or times."""
    times = series.dtype == pl.Datetime
    if column.mode not in (None, "datetime" if times else "number"):
        return column.add_texts(_as_text(series), place)
    if times:
        micros = series.to_physical()
        seconds = seconds_of(micros.fill_null(0).to_numpy())
        seconds[micros.is_null().to_numpy()] = np.nan
        return column.add_datetimes(seconds)
    values = series.cast(pl.Float64).to_numpy()
    return column.add_numbers(values, place, fractional=series.dtype == pl.Float64)


def _as_text(series: pl.Series) -> pl.Series:
    """Return numbers or times as rows of JSON would have them."""
    if series.dtype == pl.Float64:
        texts = [None if number is None else str(number) for number in series.to_list()]
        return pl.Series(texts, dtype=pl.String)
    if series.dtype == pl.Datetime:
        return series.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return series.cast(pl.String)


def _problems(column: Column) -> list[Problem]:
    """Find what keeps a column from being what it was decided or is wanted to be."""
    kind, name = column.decided(), column.name
    if kind in ("categorical", "text"):
        return []
    cell, detail = column.firsts.get(kind), f"is not a {kind}"
    of_all = f" ({getattr(column, kind + 's'):,} of {column.present:,} values are)"
    if column.wanted is None:
        of_all += '; leave it empty if it is missing, or give the type "categorical"'
    if kind == "datetime":
        detail = "is not a date or time"
    if cell is None and kind == "number":
        cell, detail, of_all = column.firsts.get("finite"), "is not a finite number", ""
    if cell is None:
        return []
    path = f"rows[{cell.row}]{step(name)}" if column.wanted is None else f"types{step(name)}"
    return [Problem(path, f"{cell.place}, column {name!r}: {shown(cell.text)} {detail}{of_all}")]


def _describe_words(column: Column, labels: tuple[list[str], Array] | None) -> dict[str, Any]:
    unique, estimated = (len(labels[0]), False) if labels else column.distinct.count()
    missing = column.rows - column.present
    if labels is None:
        described = text_column(column.name, unique=unique, missing=missing)
    else:
        counts = np.empty(unique, np.int64)
        counts[labels[1][:-1]] = column.counts
        described = text_column(
            column.name,
            unique=unique,
            missing=missing,
            categories=labels[0],
            counts=counts.tolist(),
        )
    return {**described, **({"unique_estimated": True} if estimated else {})}


def _describe_numbers(column: Column, numbers: Array, warnings: list[str]) -> dict[str, Any]:
    unique, estimated = column.distinct.count()
    if column.decided() == "datetime":
        described = datetime_column(column.name, numbers, unique=unique)
    else:
        fractional = column.fractional if column.wanted is None else column.wanted == "number"
        described = number_column(
            column.name, numbers, warnings, unique=unique, fractional=fractional
        )
    if column.wanted == "integer" and column.present and described["type"] != "integer":
        raise _not_whole(column.name, numbers)
    return {**described, **({"unique_estimated": True} if estimated else {})}


def _not_whole(name: str, numbers: Array) -> DataError:
    bad = (numbers != np.floor(numbers)) & ~np.isnan(numbers)
    bad |= np.abs(numbers) >= 2**53
    row = int(np.argmax(bad))
    detail = "is not a whole number below 2^53"
    return DataError.at(f"types{step(name)}", f"rows[{row}]: {shown(float(numbers[row]))} {detail}")


def _check_types(types: Mapping[str, str]) -> None:
    problems = [
        Problem(f"types{step(name)}", f"must be one of {', '.join(TYPES)}, got {shown(kind)}")
        for name, kind in types.items()
        if kind not in TYPES
    ]
    if problems:
        raise DataError(*problems[:MAX_PROBLEMS])


def _check_categories(counts: dict[str, int]) -> None:
    if sum(counts.values()) > MAX_CATEGORIES_IN_ALL:
        widest = max(counts, key=lambda name: counts[name])
        detail = f"the text columns have {sum(counts.values()):,} different values in all, at most"
        hint = f"leave some out, such as {widest!r} with {counts[widest]:,}"
        raise DataError.at(FILE, f"{detail} {MAX_CATEGORIES_IN_ALL:,} can be kept: {hint}")
