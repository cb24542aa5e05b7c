"""NDJSON: an object a line, of numbers, text, booleans and nulls."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl

from chainrule.errors import DataError, step
from chainrule.recipe.values import shown
from service.parsing import layout
from service.parsing.building import Block
from service.parsing.layout import MAX_COLUMNS, MAX_RECORD_BYTES
from service.parsing.marks import DECLARED, PLAIN
from service.parsing.result import FILE, check_name
from service.parsing.text import TextFile, count_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from service.parsing.gathering import Column

__all__ = ["NdjsonFile"]

_LARGEST = 2**62


@dataclass(frozen=True)
class _Wanted:
    """How a column's values are wanted.

    ``loose``: as numbers, if they are. ``sure``: it will never be words.
    ``mark``: before the fraction of a number among texts.
    """

    loose: bool
    sure: bool
    mark: str


class NdjsonFile:
    """A file of JSON objects, to be read as often as it takes.  Raises: DataError."""

    marks = PLAIN

    def __init__(
        self,
        path: Path,
        types: Mapping[str, str],
        progress: Callable[[float], object] | None = None,
    ) -> None:
        self._path = path
        self._types = types  # what the client says of columns that are yet to come
        self._progress = progress
        self._blank_lines = 0

    @property
    def warnings(self) -> list[str]:
        """What was left out."""
        return [f"blank lines left out: {self._blank_lines:,}"] if self._blank_lines else []

    def foreseen_rows(self) -> int:
        """Return how many rows there are, if none of its lines is blank."""
        return count_lines(self._path)

    def blocks(self, columns: Mapping[str, Column], *, again: bool) -> Iterator[Block]:
        """Yield all rows; a key that an object lacks has no value there."""
        self._blank_lines, done, known = 0, 0, dict[str, None]()
        with TextFile(self._path, None, None if again else self._progress) as file:
            for text, line in _lines(file):
                rows, places = [], []
                for number, one in enumerate(text.split(b"\n"), line):
                    if one.strip():
                        rows.append(_object(one, number))
                        places.append(number)
                    elif one or number < line + text.count(b"\n"):
                        self._blank_lines += 1
                if not rows:
                    continue
                for row, number in zip(rows, places, strict=True):
                    _check_keys(row, known, number)
                names = [name for name in known if not again or name in columns]
                block = {
                    name: _series(
                        name,
                        [row.get(name) for row in rows],
                        (done, places),
                        self._wanted(name, columns.get(name)),
                    )
                    for name in names
                }
                yield Block(len(rows), block, lambda row, places=places: f"line {places[row]}")  # type: ignore[misc]
                done += len(rows)
        if done and not known:
            raise DataError.at(FILE, "has no keys")
        if not done:
            raise DataError.at(FILE, "the file is empty")

    def _wanted(self, name: str, column: Column | None) -> _Wanted:
        if column is not None:
            sure = column.mode == "number"
            return _Wanted(column.loose, sure, column.marks.decimal)
        given = self._types.get(name)
        loose = given in (None, "integer", "number", *DECLARED)
        sure = loose and given is not None
        return _Wanted(loose, sure, DECLARED.get(given or "", PLAIN).decimal)


def _lines(file: TextFile) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines, many at a time, and the number of the first."""
    line, rest, size = 1, b"", layout.BLOCK_BYTES
    while piece := file.read(size):
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        if cut:
            yield data[:cut], line
            line += data.count(b"\n", 0, cut)
        rest = data[cut:]
        size = max(layout.BLOCK_BYTES, len(rest))
        if len(rest) > MAX_RECORD_BYTES:
            detail = f"a line of more than {MAX_RECORD_BYTES >> 20} MiB"
            raise DataError.at(FILE, f"line {line}: {detail}")
    if rest:
        yield rest, line


def _object(text: bytes, line: int) -> dict[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise DataError.at(FILE, f"line {line}: is not JSON: {said}") from None
    if not isinstance(found, dict):
        detail = 'must be an object such as {"age": 31}'
        raise DataError.at(FILE, f"line {line}: {detail}, got {shown(found)}")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(twice)} is there twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number in JSON; write null")


def _check_keys(row: dict[str, Any], known: dict[str, None], line: int) -> None:
    for name in row:
        if name not in known:
            if not name.strip() or not _is_text(name):
                raise DataError.at(FILE, f"line {line}: a key is no name: {shown(name)}")
            check_name(name, f"line {line}")
            known[name] = None
            if len(known) > MAX_COLUMNS:
                raise DataError.at(FILE, f"line {line}: has more than {MAX_COLUMNS:,} keys")


def _series(
    name: str, values: list[Any], where: tuple[int, list[int]], wanted: _Wanted
) -> pl.Series:
    """Return a column's values: numbers, if there are no others and none other are wanted."""
    kinds = {type(value) for value in values} - {type(None)}
    if wanted.loose and kinds and kinds <= {int, float}:
        whole = float not in kinds
        if whole and all(value is None or abs(value) < _LARGEST for value in values):
            return pl.Series(values, dtype=pl.Int64)
        # Among floats 1 would become 1.0, which is another word.
        alike = kinds == {float} or wanted.sure
        if not whole and alike and all(_is_float(value) for value in values):
            return pl.Series(values, dtype=pl.Float64, strict=False)
    texts = [_text(value, wanted.mark) for value in values]
    if kinds & {dict, list} or not all(text is None or _is_text(text) for text in texts):
        row = next(
            row
            for row, (value, text) in enumerate(zip(values, texts, strict=True))
            if isinstance(value, dict | list) or (text is not None and not _is_text(text))
        )
        nested = isinstance(values[row], dict | list)
        detail = f"{shown(values[row])} is nested" if nested else "a character is none of Unicode"
        done, lines = where
        place = f"line {lines[row]}, column {name!r}"
        raise DataError.at(f"rows[{done + row}]{step(name)}", f"{place}: {detail}")
    return pl.Series(texts, dtype=pl.String)


def _text(value: Any, mark: str) -> str | None:
    """Return a value as a row of JSON has it for a category, a fraction after a mark."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).replace(".", mark) if isinstance(value, int | float) else ""


def _is_float(value: Any) -> bool:
    """Tell whether a number is missing, or a float that is as good as its text."""
    if value is None or isinstance(value, float):
        return value is None or math.isfinite(value)
    return bool(abs(value) < _LARGEST)


def _is_text(text: str) -> bool:
    """Tell whether text can be stored: no NUL, no half of a character."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
