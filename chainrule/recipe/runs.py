"""Sequences as runs of rows that are kept once, however many sequences a row is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainrule.kernels import Array

__all__ = ["Runs"]


@dataclass(frozen=True)
class Runs:
    """An array (samples, length, features) of which sample i is ``rows[starts[i]:][:length]``.

    It is read by batch: taking some samples makes an array of these, and no more.
    Shapes: rows (rows, features), contiguous; starts (samples,) of intp.
    """

    rows: Array
    starts: Array
    length: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.starts), self.length, *self.rows.shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    @property
    def nbytes(self) -> int:
        """What is kept."""
        return self.rows.nbytes + self.starts.nbytes

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, samples: Array | slice) -> Array:
        """Return some samples."""
        taken: Array = self.rows[self.starts[samples][:, None] + np.arange(self.length)]
        return taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:].astype(dtype or self.dtype, copy=False)
