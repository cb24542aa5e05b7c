"""One column of a table while its blocks come in: its values, and what decides its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from chainrule.errors import DataError, step
from chainrule.recipe.values import BLANKS, MISSING
from service.parsing.datetimes import parse_datetimes
from service.parsing.marks import DECLARED
from service.parsing.sketch import MISSING_HASH, Distinct, hash_numbers
from service.parsing.spool import Spool, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.kernels import Array
    from service.parsing.marks import Marks

__all__ = ["Cell", "Column", "Texts", "read_texts", "to_numbers"]

TYPES = ("integer", "number", "categorical", "text", "datetime", *DECLARED)
SHARE = 0.9  # of the values that are not missing: so many numbers make a column of numbers
MAX_CATEGORIES = 10_000
MAX_LABEL_CHARACTERS = 1000
_MOST_SPELLINGS = 1000  # that a file's cells are compared with while they are read


@dataclass(frozen=True)
class Cell:
    """A value that is not what its column holds: in which row, where in the file, as written."""

    row: int
    place: str
    text: str


@dataclass(frozen=True)
class Texts:
    """A block of a column as text: stripped, null where missing; its numbers, null for others."""

    texts: pl.Series
    numbers: pl.Series
    fractional: bool  # a number is written with a point or an exponent


class Column:
    """Takes a column's blocks, as numbers where the file could be read so, else as text.

    It begins as the type that its first values suggest. At the end ``decided`` tells what it is;
    where that is another ``mode``, it has to be read again. ``forced`` is a mode that it cannot
    leave.
    """

    def __init__(
        self, name: str, spool: Spool, limit: int, marks: Marks, forced: str | None = None
    ) -> None:
        self.name = name
        self.marks = marks
        self.forced = forced
        self.wanted: str | None = None  # the type that the client has named
        self.mode = forced
        self.rows = 0
        self.present = 0
        self.numbers = 0
        self.datetimes = 0
        self.fractional = False
        self.straight: pl.DataType | None = None  # what the file's cells can be read as at once
        self.firsts: dict[str, Cell] = {}  # the first that is no "number", "finite", "datetime"
        self.labels: dict[str, int] = {}
        self.counts = np.zeros(0, np.int64)  # rows of each label
        self.distinct = Distinct(limit)
        self.tensor: Tensor | None = None
        self._spool = spool
        self._spellings: dict[str, int] = {}  # words as the file has them, missing ones too
        self._codes = np.array([-1], np.int32)  # of these words; the last: of no value
        self._label_hashes = np.array([MISSING_HASH])  # the last: of a missing value
        self._label_kinds: dict[str, Array] = {}

    @property
    def loose(self) -> bool:
        """Whether the numbers of its texts are wanted."""
        return self.mode in (None, "number")

    def decided(self) -> str:
        """Return what the column is."""
        if self.forced is not None:
            return self.forced
        if self.mode == "categorical":
            self._count_words()
        if self.numbers >= SHARE * self.present:
            return "number"
        if self.datetimes >= SHARE * self.present:
            return "datetime"
        return self.mode if self.mode in ("categorical", "text") else "categorical"

    def skip(self, rows: int) -> Array:
        """Add rows without a value; return their hashes."""
        self.rows += rows
        if self.tensor is not None:
            self.tensor.skip(rows)
        return np.full(rows, MISSING_HASH)

    def add_numbers(self, values: Array, place: Callable[[int], str], *, fractional: bool) -> Array:
        """Add rows that are numbers (NaN: missing) in the file; return their hashes."""
        self._begin("number")
        # Adding zero turns -0.0 into 0.0.
        values = values + 0.0
        missing = np.isnan(values)
        if missing.all():
            return self.skip(len(values))
        if "finite" not in self.firsts and (infinite := np.isinf(values)).any():
            row = int(np.argmax(infinite))
            self._note("finite", row, place, str(values[row]))
        self.fractional = self.fractional or fractional
        self.numbers += len(values) - int(np.count_nonzero(missing))
        return self._keep(values, missing)

    def add_datetimes(self, seconds: Array) -> Array:
        """Add rows that are times (NaN: missing) in the file; return their hashes."""
        self._begin("datetime")
        missing = np.isnan(seconds)
        if missing.all():
            return self.skip(len(seconds))
        self.datetimes += len(seconds) - int(np.count_nonzero(missing))
        return self._keep(seconds + 0.0, missing)

    def add_texts(
        self, series: pl.Series, place: Callable[[int], str], read: Texts | None = None
    ) -> Array:
        """Add rows of text as it is in the file, or of words that are known; return their hashes.

        ``read``: the same, read already, where ``loose``.
        """
        if self.mode == "categorical":
            return self._add_words(series, place)
        series = series.cast(pl.String)
        if read is None:
            read = _read_one(series, self.marks)
        if self.mode == "text":
            return self._add_text(read, place)
        if self.mode is None:
            present = len(read.texts) - read.texts.null_count()
            if not present:
                return self.skip(len(series))
            if len(read.numbers) - read.numbers.null_count() < SHARE * present:
                times = parse_datetimes(read.texts)
                found = int(np.count_nonzero(~np.isnan(times)))
                self._begin("datetime" if found >= SHARE * present else "categorical")
                return self.add_texts(series, place, read)
        return self._add_values(read, place)

    def ordered(self) -> tuple[list[str], Array]:
        """Return the labels, ascending, and for each number of one its place (-1 stays)."""
        labels = list(self.labels)
        order = sorted(range(len(labels)), key=labels.__getitem__)
        places = np.empty(len(labels) + 1, np.int32)
        places[order] = np.arange(len(labels))
        places[-1] = -1
        return [labels[number] for number in order], places

    def _begin(self, mode: str) -> None:
        if self.mode is None:
            self.mode = mode
        if self.tensor is None and self.mode != "text":
            words = self.mode == "categorical"
            dtype, missing = (np.int32, -1) if words else (np.float64, np.nan)
            self.tensor = Tensor(self._spool, dtype, missing)
            self.tensor.skip(self.rows)

    def _note(self, kind: str, row: int, place: Callable[[int], str], text: str) -> None:
        self.firsts.setdefault(kind, Cell(self.rows + row, place(row), text))

    def _note_text(
        self, kind: str, bad: Array, texts: pl.Series, place: Callable[[int], str]
    ) -> None:
        if kind not in self.firsts and bad.any():
            row = int(np.argmax(bad))
            self._note(kind, row, place, texts[row])

    def _keep(self, values: Array, missing: Array) -> Array:
        """Add rows of numbers or times; what is no such value is missing."""
        hashes = hash_numbers(values)
        there = len(values) - int(np.count_nonzero(missing))
        self.present += there
        self.distinct.add(hashes if there == len(values) else hashes[~missing])
        self.rows += len(values)
        if self.tensor is not None:
            self.tensor.add(values)
        return hashes

    def _add_values(self, read: Texts, place: Callable[[int], str]) -> Array:
        """Add texts as numbers or as times; note those that are none."""
        mode = "datetime" if self.mode == "datetime" else "number"
        self._begin(mode)
        there = read.texts.is_not_null().to_numpy()
        numbers = read.numbers.to_numpy() + 0.0
        is_number = ~np.isnan(numbers)
        others = there & ~is_number
        self._straighten(numbers, read, regular=not others.any())
        times = np.full(len(numbers), np.nan)
        if others.any():
            times = parse_datetimes(read.texts)
        is_time = ~np.isnan(times)
        self._note_text("number", others, read.texts, place)
        self._note_text("finite", np.isinf(numbers), read.texts, place)
        self._note_text("datetime", there & ~is_time, read.texts, place)
        self.numbers += int(np.count_nonzero(is_number))
        self.datetimes += int(np.count_nonzero(is_time))
        values = times + 0.0 if mode == "datetime" else numbers
        hashes = self._keep(values, np.isnan(values))
        # What is neither counts, though it is not kept.
        self.present += int(np.count_nonzero(there)) - int(np.count_nonzero(~np.isnan(values)))
        return hashes

    def _add_words(self, series: pl.Series, place: Callable[[int], str]) -> Array:
        self._begin("categorical")
        known, labels = len(self.labels), self.labels
        if isinstance(series.dtype, pl.Enum):
            codes_of = self._codes
        else:
            found = series.drop_nulls().unique()
            words = found.str.strip_chars(BLANKS).to_list()
            fresh = [w for w in dict.fromkeys(words) if w not in labels and w not in MISSING]
            long = any(len(word) > MAX_LABEL_CHARACTERS for word in fresh)
            if known + len(fresh) > MAX_CATEGORIES or long:
                if self.forced is not None:
                    raise DataError.at(f"types{step(self.name)}", _too_many(self.name, long=long))
                self._give_up_words()
                return self._add_text(_read_one(series, self.marks), place)
            labels.update(zip(fresh, range(known, known + len(fresh)), strict=True))
            if fresh:
                self._learn(fresh)
            codes_of = np.array([*(labels.get(word, -1) for word in words), -1], np.int32)
            self._spell(found.to_list(), codes_of)
            series = series.cast(pl.Enum(found))
        codes = codes_of.take(series.to_physical().cast(pl.Int64).fill_null(-1).to_numpy())
        seen = np.bincount(codes + 1, minlength=len(labels) + 1)
        self.counts = np.append(self.counts, np.zeros(len(labels) - known, np.int64)) + seen[1:]
        self.present += len(codes) - int(seen[0])
        for kind, good in self._label_kinds.items():
            if kind not in self.firsts and not good[known:-1].all():
                row = int(np.argmax(~good[codes]))
                self._note(kind, row, place, list(labels)[codes[row]])
        hashes: Array = self._label_hashes.take(codes)
        self.rows += len(codes)
        if self.tensor is not None:
            self.tensor.add(codes)
        return hashes

    def _spell(self, found: list[str], codes: Array) -> None:
        """Have the next cells read as words that are known, once a block has brought no others."""
        known = len(self._spellings)
        self._spellings.update(zip(found, codes.tolist()))  # noqa: B905  # the last is of none
        if known < len(self._spellings) or known > _MOST_SPELLINGS:
            self.straight = None
        elif self.straight is None:
            # What is still read as an earlier one has the same codes: words only come after others.
            self.straight = pl.Enum([*self._spellings])
            self._codes = np.array([*self._spellings.values(), -1], np.int32)

    def _learn(self, fresh: list[str]) -> None:
        """Remember what new labels are; a missing one, the last, is whatever is wanted."""
        texts = pl.Series(fresh, dtype=pl.String)
        numbers = to_numbers(texts, self.marks)
        kinds = {
            "number": numbers.is_not_null().to_numpy(),
            "datetime": ~np.isnan(parse_datetimes(texts)),
        }
        for kind, good in kinds.items():
            before = self._label_kinds.get(kind, np.array([True]))
            self._label_kinds[kind] = np.concatenate([before[:-1], good, [True]])
        hashes = texts.hash().to_numpy()
        self._label_hashes = np.concatenate([self._label_hashes[:-1], hashes, [MISSING_HASH]])

    def _straighten(self, numbers: Array, read: Texts, *, regular: bool) -> None:
        """Decide how the next cells may be read at once."""
        self.fractional = self.fractional or read.fractional
        if self.mode != "number" or not regular or self.marks.thousands:
            self.straight = None
        elif self.fractional:
            self.straight = pl.Float64()
        else:
            small = np.abs(numbers[~np.isnan(numbers)]).max(initial=0) < 2**62
            self.straight = pl.Int64() if small else None

    def _give_up_words(self) -> None:
        self._count_words()
        self.mode, self.tensor, self.straight = "text", None, None
        self.distinct.add(self._label_hashes[:-1])
        self.labels = {}

    def _count_words(self) -> None:
        """Count what the labels' rows are."""
        good = {kind: known[:-1] for kind, known in self._label_kinds.items()}
        if good:
            self.numbers = int(self.counts[good["number"]].sum())
            self.datetimes = int(self.counts[good["datetime"]].sum())

    def _add_text(self, read: Texts, place: Callable[[int], str]) -> Array:
        """Add texts of which no value is kept."""
        there = read.texts.is_not_null().to_numpy()
        hashes: Array = read.texts.hash().to_numpy()
        if self.forced is None:
            is_number = read.numbers.is_not_null().to_numpy()
            is_time = ~np.isnan(parse_datetimes(read.texts))
            self._note_text("number", there & ~is_number, read.texts, place)
            self._note_text("datetime", there & ~is_time, read.texts, place)
            self.numbers += int(np.count_nonzero(is_number))
            self.datetimes += int(np.count_nonzero(is_time))
        self.distinct.add(hashes[there])
        self.present += int(np.count_nonzero(there))
        self.rows += len(hashes)
        return np.where(there, hashes, MISSING_HASH)


def to_numbers(texts: pl.Series, marks: Marks) -> pl.Series:
    """Return what texts are as numbers, null where they are none."""
    return texts.to_frame("t").select(marks.number(pl.col("t"))).to_series()


def read_texts(frame: pl.DataFrame, marks: Marks) -> list[Texts]:
    """Read columns of text all at once: ten thousand one by one would take half a minute."""
    texts = frame.select(pl.all().str.strip_chars(BLANKS))
    numbers = texts.select(marks.number(pl.all()))
    fractional = texts.select(pl.all().str.contains(marks.fractional).any()).row(0)
    found = []
    for text, number, fraction in zip(texts, numbers, fractional, strict=True):
        if number.null_count() > text.null_count():
            known = text.set(text.is_in(list(MISSING)), None)
            found.append(Texts(known, number, bool(fraction)))
        else:
            found.append(Texts(text, number, bool(fraction)))
    return found


def _read_one(series: pl.Series, marks: Marks) -> Texts:
    return read_texts(series.to_frame("t"), marks)[0]


def _too_many(name: str, *, long: bool) -> str:
    if long:
        return f"column {name!r} has a text of more than {MAX_LABEL_CHARACTERS:,} characters"
    return f"column {name!r} has more than {MAX_CATEGORIES:,} different texts"
