"""Values of many rows out of a column, in no more memory than they take themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chainrule.kernels import Array

__all__ = ["BLOCK_ROWS", "Present", "gathered", "packed"]

BLOCK_ROWS = 1 << 18  # numpy makes eight bytes of each row's number
PRESENT_ROWS = 1 << 20


def gathered(tensor: Array, rows: Array) -> Array:
    """Return the values of some rows.  Shapes: tensor (all, ...), rows (n,) -> (n, ...)."""
    found = np.empty((len(rows), *tensor.shape[1:]), tensor.dtype)
    for start in range(0, len(rows), BLOCK_ROWS):
        some = slice(start, start + BLOCK_ROWS)
        found[some] = tensor[rows[some]]
    return found


def packed(values: Array) -> Array:
    """Move the values that are not missing to the front, and return these; the rest is spoilt.

    Missing is NaN, or a code below 0.  Shapes: (rows,) -> (at most rows,).
    """
    count = 0
    for start in range(0, len(values), BLOCK_ROWS):
        some = _present(values[start : start + BLOCK_ROWS])
        values[count : count + len(some)] = some
        count += len(some)
    return values[:count]


@dataclass(frozen=True)
class Present:
    """The values of some rows that are not missing: a block at a time, or all at once.

    ``change`` makes values of what the tensor holds.  Shapes: tensor (all,), rows (n,).
    """

    tensor: Array
    rows: Array
    change: Callable[[Array], Array] = np.asarray

    def then(self, change: Callable[[Array], Array]) -> Present:
        """Return the same rows' values, changed further."""
        return Present(self.tensor, self.rows, lambda taken: change(self.change(taken)))

    def blocks(self) -> Iterator[Array]:
        """Yield the values in order, ``PRESENT_ROWS`` of them at a time, the last ones fewer.

        A block is good until the next.
        """
        block, filled = np.empty(0), 0
        for start in range(0, len(self.rows), BLOCK_ROWS):
            some = self.change(self.tensor[self.rows[start : start + BLOCK_ROWS]])
            some = _present(some)
            while some.size:
                if not block.size:
                    block = np.empty(min(PRESENT_ROWS, len(self.rows)), some.dtype)
                taken = some[: len(block) - filled]
                block[filled : filled + len(taken)] = taken
                filled, some = filled + len(taken), some[len(taken) :]
                if filled == len(block):
                    yield block
                    filled = 0
        if filled:
            yield block[:filled]

    def whole(self) -> Array:
        """Return all values, which are the caller's own."""
        return packed(self.change(gathered(self.tensor, self.rows)))


def _present(values: Array) -> Array:
    there = ~np.isnan(values) if values.dtype.kind == "f" else values >= 0
    return values if there.all() else values[there]
