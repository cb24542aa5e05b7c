"""How a file writes its table: delimiter, quote, header and decimal mark, from its beginning.

RFC 4180 is what counts wherever a file can be read so; each other reading is told in a warning.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import DataError
from chainrule.recipe.values import BLANKS, MISSING, read_number
from service.parsing.layout import Dialect, records_in
from service.parsing.marks import Marks, grouped_marks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["detect"]

SAMPLE_BYTES = 1 << 16
_RECORDS = 200
_ANNOUNCED = re.compile(rb"sep=(.)\r?\n")
_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_COMMA_NUMBER = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_POINT_NUMBER = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")


def detect(text: bytes, delimiters: Sequence[str], *, whole: bool) -> tuple[Dialect, list[str]]:
    """Return a file's dialect and what is said of it.

    ``text``: the beginning, or the ``whole`` of it.  ``delimiters``: what may separate fields; the
    first does, unless only another one gives a table.
    """
    announced = _ANNOUNCED.match(text)
    if announced and (told := announced[1].decode()) in delimiters:
        dialect, warnings = detect(text[announced.end() :], told, whole=whole)
        said = f"the first line says that fields are separated by {_NAMES[told]}"
        return replace(dialect, announced=True), [said, *warnings]
    usual = Dialect(delimiter=delimiters[0])
    dialect, warnings = usual, []
    fitting = [
        one
        for delimiter in delimiters
        for one in (Dialect(delimiter, '"'), Dialect(delimiter, "'"))
        if _fits(text, one, whole=whole)
    ]
    by_quote = {quote: [one for one in fitting if one.quote == quote] for quote in "\"'"}
    if len(by_quote["'"]) == 1 or usual in [replace(one, quote='"') for one in by_quote["'"]]:
        dialect = by_quote["'"][0]
        warnings.append("fields are quoted by ' instead of \"")
    elif usual not in fitting and len(by_quote['"']) == 1:
        dialect = by_quote['"'][0]
    if dialect.delimiter != usual.delimiter:
        warnings.insert(0, f"fields are separated by {_NAMES[dialect.delimiter]}, not by commas")
    records = _sampled(text, dialect, whole=whole)
    if found := grouped_marks(_columns(records)):
        marks, example = found
        dialect = replace(dialect, marks=marks)
        warnings.append(marks.told(example))
    elif dialect.delimiter != "," and (example := _decimal_comma(records)):
        dialect = replace(dialect, marks=Marks(","))
        point = example.replace(",", ".")
        warnings.append(f"numbers have a decimal comma: {example} is read as {point}")
    if records and not _has_header(records, dialect.marks):
        dialect = replace(dialect, header=False)
        names = "column_1" if len(records[0]) == 1 else f"column_1 to column_{len(records[0])}"
        warnings.append(f"the first line is data and no header: the names are {names}")
    return dialect, warnings


def _fits(text: bytes, dialect: Dialect, *, whole: bool) -> bool:
    """Tell whether each record has as many fields, more than one."""
    if dialect.quote == "'" and (b'"' in text or b"'" not in text):
        return False
    try:
        found = records_in(text, dialect, 1, final=whole)
    except DataError:
        return False
    fields = found.fields[np.flatnonzero(~found.blank)[:_RECORDS]]
    if not fields.size or fields[0] < 2 or (fields != fields[0]).any():
        return False
    # Apostrophes are rare in text; as quotes there are two for a field, in each record.
    return dialect.quote == '"' or text.count(b"'") >= 2 * len(found.fields)


def _sampled(text: bytes, dialect: Dialect, *, whole: bool) -> list[list[str]]:
    try:
        found = records_in(text, dialect, 1, final=whole)
    except DataError:
        return []  # told where it is when the file is read
    rows = np.flatnonzero(~found.blank)[:_RECORDS]
    if not rows.size:
        return []
    csv.field_size_limit(max(len(text) + 1, csv.field_size_limit()))
    file = io.StringIO(text[: int(found.ends[rows[-1]])].decode(), newline="")
    reader = csv.reader(file, delimiter=dialect.delimiter, quotechar=dialect.quote)
    return [[cell.strip(BLANKS) for cell in row] for row in reader if row]


def _columns(records: list[list[str]]) -> list[list[str]]:
    """Return the cells below the first record, column by column, without missing ones."""
    body = [row for row in records[1:] if len(row) == len(records[0])]
    columns = zip(*body, strict=True)
    return [[cell for cell in column if cell not in MISSING] for column in columns]


def _decimal_comma(records: list[list[str]]) -> str:
    """Return a number with a decimal comma, if there are such and none with a point.

    ``1,234`` alone may as well be a thousand and more: then it stays text.
    """
    cells = [cell for record in records for cell in record]
    found = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell)]
    if any(_POINT_NUMBER.fullmatch(cell) for cell in cells):
        return ""
    return next((cell for cell in found if not _THOUSANDS.fullmatch(cell)), "")


def _has_header(records: list[list[str]], marks: Marks) -> bool:
    """Tell whether the first record is names: not if it is data like all that follow.

    Whole numbers may be names, such as years, but not where all names are.
    """
    first, others = records[0], records[1:]
    numbers = [_is_number(cell, marks) for cell in first]
    if not any(numbers):
        return True
    if all(number or cell in MISSING for number, cell in zip(numbers, first, strict=True)):
        return False
    for place, cell in enumerate(first):
        below = [row[place] for row in others if len(row) == len(first)]
        seen = [_is_number(one, marks) for one in below if one not in MISSING]
        if seen and all(seen) and not numbers[place] and cell not in MISSING:
            return True  # a word over numbers
    names = [cell for cell, number in zip(first, numbers, strict=True) if number]
    return bool(others) and all(name.isdecimal() for name in names) and len({*first}) == len(first)


def _is_number(cell: str, marks: Marks) -> bool:
    if marks.thousands and re.match(marks.grammar, cell):
        cell = cell.replace(marks.thousands, "")
    if marks.decimal == ",":
        cell = cell.replace(",", ".")
    try:
        return not math.isnan(read_number(cell))
    except DataError:
        return "inf" in cell.lower() and cell.lower().strip("+-") in ("inf", "infinity")
