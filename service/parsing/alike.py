"""Rows that are the same as one before them, or almost: how many there are, and some of them."""

from __future__ import annotations

import tempfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from chainrule.recipe.values import counted
from service.parsing.sketch import MISSING_HASH, RowHashes, hash_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.kernels import Array

__all__ = ["Rough", "alike_by_chance", "repeats", "rough_repeats", "roughly"]

MAX_VALUES = 20_000_000  # are looked at once more: half a second
EXAMPLES = 3
_CANDIDATES = 1024
_BLOCK = 1 << 16
_THREADS = 2
_AT_ONCE = 8
_KEPT_BITS = 17  # of a number's 52: about five digits
_DROPPED = np.uint64(52 - _KEPT_BITS)


@dataclass(frozen=True)
class Rough:
    """A column that is compared roughly: what its share of a row's hash was, and what it becomes.

    ``becomes`` is None for a column that is not compared at all, ``but_for`` says in words what is
    overlooked.  Shapes: values (rows,); both functions give 64 bits for each of some of them.
    """

    position: int
    values: Array
    was: Callable[[Array], Array]
    becomes: Callable[[Array], Array] | None
    but_for: str


def roughly(position: int, column: dict[str, Any], values: Array, *, ignored: bool) -> list[Rough]:
    """Return how a described column is compared roughly; nothing, if that is as it is exactly."""
    words = column.get("categories")
    was = hash_numbers if words is None else _of_words(words).__getitem__
    if ignored:
        return [Rough(position, values, was, None, f"the id {column['name']!r}")]
    if column["type"] == "number":
        return [Rough(position, values, was, _rough_numbers, "digits beyond the fifth")]
    plain = [_folded(word) for word in words or ()]
    if len(set(plain)) == len(plain):
        return []
    becomes = _of_words(plain).__getitem__
    return [Rough(position, values, was, becomes, "upper and lower case and blanks in words")]


def _of_words(words: Sequence[str]) -> Array:
    """Return 64 bits for each word, and at the end those of a missing one, whose code is -1."""
    hashes = pl.Series(words, dtype=pl.String).hash().to_numpy()
    return np.append(hashes, MISSING_HASH)


def _rough_numbers(numbers: Array) -> Array:
    """Return 64 bits for each number, the same ones for numbers that agree to about five digits.

    Two that agree are parted all the same where what is rounded lies between them.
    """
    half, kept = np.uint64(1) << (_DROPPED - np.uint64(1)), ~((np.uint64(1) << _DROPPED) - 1)
    rounded = (numbers.view(np.uint64) + half) & kept
    return hash_numbers(rounded.view(np.float64))


def _folded(word: str) -> str:
    """Return a word without what is easily written in two ways: case, blanks, forms of a letter."""
    return "".join(unicodedata.normalize("NFKC", word).casefold().split())


def repeats(hashes: RowHashes) -> tuple[int, list[str]]:
    """Count rows that are the same as one before them, and tell of them."""
    with _Sorted(hashes, len(hashes), hashes.of_rows) as found:
        if not found.count:
            return 0, []
        which = "is the same as a row" if found.count == 1 else "are the same as rows"
        said = f"{counted(found.count, 'row')} {which} before"
        return found.count, [said + _examples(found.pairs(lambda a, b: True))]


def alike_by_chance(rows: int, unique: int) -> float:
    """Return how probable it is that two rows have the same of so many values, all as frequent."""
    return max(rows / max(unique, 1) - 1, 1 / rows) / max(rows - 1, 1)


def rough_repeats(
    hashes: RowHashes, columns: Sequence[Rough], same: int, chance: float
) -> list[str]:
    """Tell of rows that are almost the same as one before them, and not quite.

    ``same`` are quite.  ``chance``: how probable it is that two rows are alike.  Where half as many
    or more may be so by chance, nothing is said.  Of a large table the first rows are looked at.
    """
    rows = min(len(hashes), MAX_VALUES // max(1, len(columns)))

    def rough(start: int, stop: int) -> Array:
        total = hashes.of_rows(start, stop)
        for column in columns:
            values = column.values[start:stop]
            becomes = MISSING_HASH if column.becomes is None else column.becomes(values)
            total += hashes.weighed(column.position, becomes - column.was(values))
        return total

    if not columns or rows < 2:
        return []
    if rows < len(hashes):
        with _Sorted(hashes, rows, hashes.of_rows) as found:
            same = found.count
    with _Sorted(hashes, rows, rough) as found:
        almost = found.count - same
        if almost <= 0 or rows * (rows - 1) * chance > almost:
            return []
        which = "is almost the same as a row" if almost == 1 else "are almost the same as rows"
        where = "" if rows == len(hashes) else f" of the first {rows:,}"
        but_for = ", ".join(dict.fromkeys(column.but_for for column in columns))
        said = f"{counted(almost, 'row')}{where} {which} before, but for {but_for}"
        return [said + _examples(found.pairs(lambda a, b: a != b))]


class _Sorted:
    """Hashes of the first rows in order, in a file of their own; ``count`` repeat one before."""

    def __init__(self, hashes: RowHashes, rows: int, make: Callable[[int, int], Array]) -> None:
        self._hashes, self._rows, self._make = hashes, rows, make
        # It has no name: nothing is left, whatever happens.
        self._file = tempfile.TemporaryFile(dir=hashes.folder)  # noqa: SIM115  # closed on leaving
        self.count = 0
        self._repeated = np.empty(0, np.uint64)

    def __enter__(self) -> _Sorted:
        starts = range(0, self._rows, _BLOCK)
        with ThreadPoolExecutor(_THREADS) as pool:
            for first in range(0, len(starts), _AT_ONCE):  # no more than these are in memory
                for made in pool.map(self._block, starts[first : first + _AT_ONCE]):
                    self._file.write(made.data)
        self._file.flush()
        ordered = np.memmap(self._file, np.uint64, "r+")
        ordered.sort()
        for start in range(0, self._rows - 1, _BLOCK):
            piece = ordered[start : start + _BLOCK + 1]
            again = piece[1:][piece[1:] == piece[:-1]]
            self.count += len(again)
            if len(self._repeated) < _CANDIDATES:
                self._repeated = np.unique(np.concatenate([self._repeated, again]))[:_CANDIDATES]
        return self

    def _block(self, start: int) -> Array:
        return self._make(start, min(start + _BLOCK, self._rows))

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def pairs(self, wanted: Callable[[int, int], bool]) -> list[tuple[int, int]]:
        """Return some pairs of rows that are alike, as ``wanted`` says of their exact hashes."""
        firsts: dict[int, tuple[int, int]] = {}
        found: dict[int, tuple[int, int]] = {}
        for start in range(0, self._rows, _BLOCK):
            stop = min(start + _BLOCK, self._rows)
            made, exact = self._make(start, stop), self._hashes.of_rows(start, stop)
            for place in np.flatnonzero(np.isin(made, self._repeated)).tolist():
                one, own = int(made[place]), int(exact[place])
                row, first = firsts.setdefault(one, (start + place, own))
                if row < start + place and one not in found and wanted(first, own):
                    found[one] = (row, start + place)
                    if len(found) == EXAMPLES:
                        return sorted(found.values())
        return sorted(found.values())


def _examples(pairs: list[tuple[int, int]]) -> str:
    told = "; ".join(f"rows[{first}] and rows[{second}]" for first, second in pairs)
    return f", such as {told}" if told else ""
