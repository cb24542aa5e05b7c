"""The rows that are learnt from: checked once, then gathered into the tape's memory by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.layers import check_shape, check_vocabularies
from chainrule.losses import check_target, is_classes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.network import Network
    from chainrule.tape import Array, Tape

__all__ = ["Samples"]


class Samples:
    """Inputs and targets of equal length; they may be memory-mapped, and are read by batch.

    Shapes: x (rows, *input_shape); target as the loss wants it.
    Raises: DataError at ``inputs`` or ``target``, if they do not fit the network or each other.
    """

    def __init__(self, net: Network, loss: str, x: ArrayLike, target: ArrayLike) -> None:
        self.loss = loss
        self.x = np.asarray(x)
        if self.x.dtype.kind not in "fiub":
            raise DataError.at("inputs", f"must be numbers, got {self.x.dtype}")
        try:
            check_shape(self.x, ("rows", *net.input_shape), owner="the network")
        except ShapeError as error:
            raise DataError.at("inputs", str(error)) from None
        try:
            check_vocabularies(dict.fromkeys(net.input_shapes, self.x), net.vocabularies)
        except DataError as error:
            raise error.under("inputs") from None
        self.target = check_target(loss, net.output_shape, np.asarray(target))
        self.rows = len(self.x)
        if self.rows == 0:
            raise DataError.at("inputs", "has no rows")
        if len(self.target) != self.rows:
            detail = f"has {len(self.target)} rows, the inputs have {self.rows}"
            raise DataError.at("target", detail)
        self._dtype = net.dtype
        classes = is_classes(loss, net.output_shape, self.target)
        self._target_dtype: np.dtype[Any] = np.dtype(np.intp) if classes else net.dtype

    def batch(self, rows: Array | slice, tape: Tape) -> tuple[Array, Array]:
        """Return some rows, in the network's precision, in the tape's memory or as views."""
        return (
            _gather(self.x, rows, tape, self._dtype),
            _gather(self.target, rows, tape, self._target_dtype),
        )


def _gather(array: Array, rows: Array | slice, tape: Tape, dtype: np.dtype[Any]) -> Array:
    if isinstance(rows, slice):
        taken = array[rows]
    else:
        taken = tape.empty((len(rows), *array.shape[1:]), array.dtype)
        array.take(rows, 0, taken, "clip")
    if taken.dtype == dtype and taken.flags.c_contiguous:
        return taken
    out = tape.empty(taken.shape, dtype)
    np.copyto(out, taken, casting="unsafe")
    return out
