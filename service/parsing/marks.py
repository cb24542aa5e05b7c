"""How a column writes its numbers: the mark before the fraction, and the one between thousands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DECLARED", "PLAIN", "Marks", "ambiguous", "grouped_marks", "otherwise"]

_FRACTIONAL = r"[0-9][.,eE]|[.,][0-9]"
_FRACTION = re.compile(r"[+-]?[0-9]*[.,][0-9]+")
_MARKED = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)+")
_DAY = re.compile(  # 31.05.2024, 5/31/24, 31-5-2024, 2024/05/31, also with a time
    r"(?:[0-9]{1,2}([./-])[0-9]{1,2}\1(?:[0-9]{4}|[0-9]{2})|[0-9]{4}([./])[0-9]{1,2}\2[0-9]{1,2})"
    r"(?:[T ,]+[0-9]{1,2}:[0-9]{2}.*)?"
)
_UNIT = r"[%€$£¥]"
_MEASURED = re.compile(  # 26.5 %, $1,234.50, 1 234,5, 1'234
    rf"[+-]?{_UNIT} ?[+-]?[0-9][0-9.,' ]*|[+-]?[0-9][0-9.,' ]* ?{_UNIT}|"
    r"[+-]?[0-9]{1,3}(?:[' \u00a0\u202f][0-9]{3})+(?:[.,][0-9]+)?"
)


class Marks(NamedTuple):
    """``thousands`` is empty where there is no such mark."""

    decimal: str = "."
    thousands: str = ""

    def number(self, texts: pl.Expr) -> pl.Expr:
        """Return what texts are as numbers, null where they are none."""
        if self.thousands:
            written = pl.when(texts.str.contains(self.grammar)).then(texts)
            texts = written.str.replace_all(self.thousands, "", literal=True)
            texts = texts.str.replace(self.decimal, ".", literal=True)
        elif self.decimal == ",":
            written = pl.when(~texts.str.contains(".", literal=True)).then(texts)
            texts = written.str.replace(",", ".", literal=True)
        return texts.cast(pl.Float64, strict=False).fill_nan(None)

    @property
    def fractional(self) -> str:
        """A pattern of numbers that are written with a fraction or an exponent."""
        return rf"[0-9][eE]|{re.escape(self.decimal)}" if self.thousands else _FRACTIONAL

    @property
    def grammar(self) -> str:
        """A pattern of the numbers, where there is a mark between thousands."""
        decimal, thousands = re.escape(self.decimal), re.escape(self.thousands)
        whole = rf"[1-9][0-9]{{0,2}}(?:{thousands}[0-9]{{3}})+|[0-9]*"
        return rf"^[+-]?(?:{whole})(?:{decimal}[0-9]*)?(?:[eE][+-]?[0-9]+)?$"

    def told(self, example: str) -> str:
        """Return in words how a number is read."""
        plain = example.replace(self.thousands, "").replace(self.decimal, ".")
        names = {".": "points", ",": "commas"}
        decimal = "a decimal comma and" if self.decimal == "," else ""
        between = f"{names[self.thousands]} between thousands"
        return f"numbers have {decimal} {between}: {example} is read as {plain}".replace("  ", " ")


PLAIN = Marks()
DECLARED = {"decimal_comma": Marks(",", "."), "decimal_point": Marks(".", ",")}


def grouped_marks(columns: Iterable[Sequence[str]]) -> tuple[Marks, str] | None:
    """Return the marks of a table's numbers and an example, where thousands are told for sure.

    That is where a number has both marks, or more than one comma, all its column are numbers of
    the same kind, and no number anywhere needs the marks the other way round.  Points alone say
    nothing: 10.200.300 may be a code.
    """
    held = [*columns]
    found = []
    for marks in DECLARED.values():
        decimal, thousands = re.escape(marks.decimal), re.escape(marks.thousands)
        sure = rf"[+-]?[1-9][0-9]{{0,2}}(?:{thousands}[0-9]{{3}})+{decimal}[0-9]+"
        if marks.thousands == ",":
            sure += r"|[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3}){2,}"
        number, evidence = re.compile(marks.grammar), re.compile(sure)
        examples = [
            next(filter(evidence.fullmatch, cells), None)
            for cells in held
            if all(number.match(cell) for cell in cells)
        ]
        example = next(filter(None, examples), None)
        others = [
            c for cells in held for c in cells if _FRACTION.fullmatch(c) and not number.match(c)
        ]
        if example and not others:
            found.append((marks, example))
    return found[0] if len(found) == 1 else None


def ambiguous(text: str) -> bool:
    """Tell whether a text may be a number, if only it were known what its marks mean."""
    return _MARKED.fullmatch(text) is not None


def otherwise(texts: Sequence[str]) -> str | None:
    """Say how words should be written that all are dates, or all numbers, in a way of their own."""
    if all(map(_DAY.fullmatch, texts)):
        return "dates are written 2024-05-31"
    if all(map(_MEASURED.fullmatch, texts)):
        return "numbers are written 1234.5, without units or blanks"
    return None
