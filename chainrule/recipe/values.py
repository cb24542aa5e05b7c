"""One cell of a table, read alike from a file and from a prediction's row."""

from __future__ import annotations

import difflib
import math
import re
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from chainrule.kernels import Array

__all__ = [
    "BLANKS",
    "MISSING",
    "counted",
    "is_datetime",
    "listed",
    "moment",
    "read_datetime",
    "read_number",
    "read_text",
    "shown",
    "to_array",
    "unknown_name",
]

_MISSING = "NA N/A n/a #N/A <NA> NaN nan NAN -nan -NaN null NULL None ?"
MISSING = frozenset(["", *_MISSING.split()])
BLANKS = " \t\r\n\f\v"  # stripped from both ends of every cell

MAX_DIMENSIONS = 4
# ASCII only, no underscores: float() takes more than the parser of files does.
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?)")

_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2}))?)?"
)
_EPOCH = date(1970, 1, 1).toordinal()


def read_text(cell: object, words: Collection[str | None] = ()) -> str | None:
    """Return a category's text, None if it is missing.  Raises: DataError, if it is neither.

    A boolean is ``false`` or ``true``, as in files that have such. A whole number is ``7``, which
    neither JSON nor a column of numbers tells from 7.0, unless only ``7.0`` is one of ``words``.
    """
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if not isinstance(cell, str | int | float):
        raise DataError.at("", f"must be text as in the training file, got {shown(cell)}")
    if not isinstance(cell, str) and abs(cell) < 2**53 and cell == int(cell):
        whole, point = str(int(cell)), str(float(cell))
        return point if point in words and whole not in words else whole
    text = str(cell).strip(BLANKS)
    return None if text in MISSING else text


def read_number(cell: object) -> float:
    """Return a number, NaN if it is missing.  Raises: DataError, if it is no finite number."""
    if cell is None:
        return math.nan
    if isinstance(cell, str):
        text = cell.strip(BLANKS)
        if text in MISSING:
            return math.nan
        number = float(text) if _NUMBER.fullmatch(text.lower()) else None
    elif isinstance(cell, bool) or not isinstance(cell, int | float):
        number = None
    else:
        number = _float(cell)
    if number is None:
        raise DataError.at("", f"must be a number, got {shown(cell)}")
    if math.isinf(number):
        raise DataError.at("", f"must be a finite number, got {shown(cell)}")
    return number


def is_datetime(cell: object) -> bool:
    """Tell whether a cell is written as a date is, which may still be none: 2023-02-29."""
    return isinstance(cell, str) and _DATETIME.fullmatch(cell.strip(BLANKS)) is not None


def read_datetime(cell: object) -> float:
    """Return seconds since 1970-01-01 UTC, NaN if the cell is missing; without a zone it is UTC.

    They are whole microseconds divided by a million, rounded once.
    Raises: DataError, if it is no date such as 2024-05-31 or 2024-05-31T12:00:00+02:00.
    """
    text = cell.strip(BLANKS) if isinstance(cell, str) else cell
    if text is None or (isinstance(text, str) and text in MISSING):
        return math.nan
    match = _DATETIME.fullmatch(text) if isinstance(text, str) else None
    microseconds = None if match is None else _microseconds(match)
    if microseconds is None:
        detail = f"must be a date such as 2024-05-31 or 2024-05-31T12:00:00Z, got {shown(cell)}"
        raise DataError.at("", detail)
    return microseconds / 1_000_000


def to_array(values: object, path: str) -> Array:
    """Make an array of nested lists of numbers (or of an array), batch axis first.

    Raises: DataError, at the first row that is ragged, not numeric or not finite.
    """
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError, RecursionError):
        raise _bad_row(values, path) from None
    if array.ndim == 0:
        raise DataError.at(path, f"must be a list of rows, got {shown(values)}")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise _bad_row(values, path)
    if array.ndim > MAX_DIMENSIONS:
        raise DataError.at(path, f"has {array.ndim} axes, at most {MAX_DIMENSIONS}")
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not finite.all():
        raise DataError.at(f"{path}[{int(np.argmin(finite))}]", "must be finite numbers")
    return array


def shown(value: object) -> str:
    """Return a value as an error shows it: quoted if it is text, never long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple | np.ndarray):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) > 10**40:
        return "a number of more than 40 digits"
    text = str(value) if not isinstance(value, str) else value
    text = text if len(text) <= 40 else text[:39] + "…"
    return repr(text) if isinstance(value, str) else text


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: ``1 row``, ``1,000 rows``."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def listed(names: list[str]) -> str:
    """Return names as an error lists them: the first twenty."""
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return ", ".join(shown(name) for name in names[:20]) + more


def unknown_name(noun: str, name: str, names: Sequence[str]) -> str:
    """Say that a name is none of some names, and which of them may have been meant."""
    near = difflib.get_close_matches(name, names, 1)
    meant = f", did you mean {shown(near[0])}?" if near else ";"
    return f"there is no {noun} {shown(name)}{meant} the {noun}s are {listed([*names])}"


def moment(seconds: float) -> str:
    """Write seconds since 1970-01-01 UTC as ISO 8601, with a fraction only where there is one."""
    return str(np.datetime64(round(seconds * 10**6), "us")).removesuffix(".000000") + "Z"


def _microseconds(match: re.Match[str]) -> int | None:
    """Return microseconds since 1970, None if there is no such day, time or zone."""
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, sign, zone_hour, zone_minute = match.groups()[6:]
    zone = (int(zone_hour or 0), int(zone_minute or 0))
    if hour > 23 or minute > 59 or second > 59 or zone[0] > 23 or zone[1] > 59:
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        return None
    offset = (zone[0] * 60 + zone[1]) * (-1 if sign == "-" else 1)
    minutes = (days * 24 + hour) * 60 + minute - offset
    return (minutes * 60 + second) * 1_000_000 + int((fraction or "").ljust(6, "0"))


def _float(number: int | float) -> float:  # an int may be beyond all floats
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _bad_row(values: object, path: str) -> DataError:
    """Find the first row that keeps nested lists from being one array of numbers."""
    if path.count("[") > MAX_DIMENSIONS:
        return DataError(Problem(path, f"is nested deeper than {MAX_DIMENSIONS} axes"))
    wanted: tuple[int, ...] | None = None
    for index, row in enumerate(values if isinstance(values, list | tuple) else ()):
        place = f"{path}[{index}]"
        try:
            array = np.asarray(row)
        except (ValueError, OverflowError, RecursionError):
            return _bad_row(row, place)
        if array.dtype.kind not in "iufb":
            return _bad_row(row, place)
        if wanted is not None and array.shape != wanted:
            return DataError(Problem(place, f"has shape {array.shape}, the rows before {wanted}"))
        wanted = array.shape
    return DataError(Problem(path, f"must be a number, got {shown(values)}"))
