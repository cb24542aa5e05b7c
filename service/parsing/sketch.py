"""How many values are different, and how many rows are alike, in memory that does not grow."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from chainrule.kernels import Array

__all__ = ["MISSING_HASH", "Distinct", "RowHashes", "hash_numbers"]


def hash_numbers(numbers: Array) -> Array:
    """Return 64 well mixed bits for each number: other bits for other numbers.

    Source: Stafford, "Better Bit Mixing", variant 13; each step can be undone.
    """
    bits: Array = numbers.view(np.uint64) ^ np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(30)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(27)
    bits *= np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return bits


MISSING_HASH = hash_numbers(np.array([np.nan]))[0]


class Distinct:
    """Counts different hashes: exactly up to a limit, beyond it from the smallest ones.

    Source: Bar-Yossef et al., "Counting Distinct Elements in a Data Stream" (2002), algorithm 2.
    The relative error is about 1 / sqrt(limit).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = np.empty(0, np.uint64)  # ascending, the smallest there are
        self._pending: list[Array] = []
        self._waiting = 0
        self._over = False
        # The hash last seen at a place: most that come again need not be sorted again.
        self._recent: Array | None = None

    def add(self, hashes: Array) -> None:
        """Count more."""
        if self._over:
            hashes = hashes[hashes < self._kept[-1]]
        if self._recent is not None:
            places = (hashes & np.uint64(len(self._recent) - 1)).astype(np.intp)
            fresh = self._recent[places] != hashes
            hashes = hashes[fresh]
            self._recent[places[fresh]] = hashes
        if hashes.size:
            self._pending.append(hashes)
            self._waiting += len(hashes)
        if self._waiting > self._limit:
            self._settle()

    def count(self) -> tuple[int, bool]:
        """Return the number of different hashes, and whether it is estimated."""
        self._settle()
        if not self._over:
            return len(self._kept), False
        return round((self._limit - 1) * 2.0**64 / float(self._kept[-1])), True

    def _settle(self) -> None:
        if not self._pending:
            return
        found = np.concatenate([self._kept, *self._pending])
        found.sort()  # faster than np.unique, which builds a table of hashes
        found = found[np.concatenate([[True], found[1:] != found[:-1]])]
        self._over = self._over or len(found) > self._limit
        self._kept = found[: self._limit].copy()
        self._pending, self._waiting = [], 0
        if self._recent is None:
            # No hash has its own place's number with the lowest bit flipped.
            size = 1 << (self._limit - 1).bit_length()
            self._recent = np.arange(size, dtype=np.uint64) ^ np.uint64(1)


class RowHashes:
    """A hash of each row, in a file of their own: 64 bits, summed over the columns."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        # It has no name: nothing is left, whatever happens.
        self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  # closed by close()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def mixed(self, column: int, hashes: Array) -> Array:
        """Return what a column adds to the rows' hashes: nothing, where a value is missing.

        So a column that comes late adds nothing to the rows before it.
        """
        return self.weighed(column, hashes - MISSING_HASH)

    def weighed(self, column: int, hashes: Array) -> Array:
        """Return hashes, or differences of such, by what those of a column count."""
        factor = hash_numbers(np.array([float(column)]))[0] | np.uint64(1)
        weighed: Array = hashes * factor
        return weighed

    def append(self, hashes: Array) -> None:
        """Add rows.  Raises: OSError."""
        self._file.write(hashes.data)
        self._rows += len(hashes)

    def refine(self, first: int, hashes: Array) -> None:
        """Add a column's part to the rows from ``first`` on."""
        self._mapped()[first : first + len(hashes)] += hashes

    def of_rows(self, start: int, stop: int) -> Array:
        """Return the hashes of some rows."""
        hashes: Array = np.array(self._mapped()[start:stop])
        return hashes

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    def _mapped(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        self._file.flush()
        return np.memmap(self._file, np.uint64, "r+")
