"""Embeddings: learned vectors of whole numbers, and of the places of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import kernels
from chainrule.errors import DataError, ShapeError
from chainrule.layers.base import Layer, Parameters, check_shape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.spec.layers import EmbeddingSpec, PositionalEmbeddingSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Embedding", "PositionalEmbedding", "check_vocabularies"]

_BLOCK = 1 << 20  # elements that are looked at together


@dataclass(frozen=True)
class Embedding:
    """The row of a table that each whole number names.

    The gradient in the numbers is zero. With ``mask_zero`` the tape's mask is where x is not 0.
    Shapes: x (batch, ...) of whole numbers, embeddings (input_dim, output_dim)
    -> y (batch, ..., output_dim).
    Raises: DataError, if a number has no row.
    """

    embeddings: Array
    mask_zero: bool

    @classmethod
    def build(cls, spec: EmbeddingSpec, number: int, parameters: Parameters) -> Layer:
        return cls(parameters["embeddings"], spec.mask_zero)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        n, width = self.embeddings.shape
        rows, y = tape.empty(x.shape, np.intp), tape.empty((*x.shape, width))
        try:
            kernels.take_rows(self.embeddings, x, rows, y)
        except IndexError:
            detail = f"an embedding takes whole numbers from 0 to {n - 1:,}"
            raise DataError.at("", detail) from None
        if self.mask_zero:
            tape.mask = np.not_equal(rows, 0, out=tape.empty(x.shape, np.bool_))
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            tape.gradient(self.embeddings).add_rows(rows.reshape(-1), dy.reshape(-1, width))
            if not wants_dx:
                return dy
            dx = tape.empty(x.shape)
            kernels.fill(dx, 0.0)
            return dx

        return y, backward


@dataclass(frozen=True)
class PositionalEmbedding:
    """Each step plus the learned vector of its place.

    Where a sequence comes in windows, places are counted on from one to the next.
    Shapes: x (batch, steps, features), embeddings (most steps, features) -> y like x.
    Raises: ShapeError, if x is longer or has other features.
    """

    embeddings: Array
    number: int

    @classmethod
    def build(cls, spec: PositionalEmbeddingSpec, number: int, parameters: Parameters) -> Layer:
        return cls(parameters["position_embeddings"], number)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        most, features = self.embeddings.shape
        check_shape(x, ("batch", "steps", features), owner="PositionalEmbedding")
        places = self._places(x, most, tape)
        y = tape.empty(x.shape)
        kernels.add(x, self.embeddings[places], y)

        def backward(dy: Array) -> Array:
            gradient = tape.gradient(self.embeddings)
            if x.shape[1] == most:
                gradient.add_sum(dy)
            else:
                whole = tape.empty(self.embeddings.shape)
                kernels.fill(whole, 0.0)
                kernels.column_sums(dy, whole[places])
                gradient.add(whole)
            return dy

        return y, backward

    def _places(self, x: Array, most: int, tape: Tape) -> slice:
        batch, steps, _ = x.shape
        if steps > most:
            raise ShapeError(f"PositionalEmbedding has places for {most} steps, got {steps}")
        start = 0
        if tape.carried is not None:
            passed = tape.carried.get(self.number)
            start = 0 if passed is None else int(passed.flat[0])
            tape.carried[self.number] = np.full((batch, 1), start + steps, x.dtype)
        stop = min(start + steps, most)  # beyond, all windows have the last places
        return slice(stop - steps, stop)


def check_vocabularies(values: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """See to it that the inputs named in ``sizes`` hold whole numbers from 0 to below that.

    Raises: DataError, at ``[row]``, or ``name[row]`` where there are several inputs.
    """
    for name, size in sizes.items():
        place = name if len(values) > 1 else ""
        array = values[name]
        rows = max(1, _BLOCK // max(array[:1].size, 1))
        for start in range(0, len(array), rows):
            _check_block(array[start : start + rows], start, size, place)


def _check_block(block: Any, start: int, size: int, place: str) -> None:
    if block.dtype.kind not in "iub":
        block = np.asarray(block, np.float64)
        good = (block >= 0) & (block < size) & (np.trunc(block) == block)
    else:
        good = (block >= 0) & (block < size)
    if not good.all():
        first = int(np.argmin(good))
        row = start + first // max(block[:1].size, 1)
        detail = f"must be whole numbers from 0 to {size - 1:,}, got {block.flat[first]:.10g}"
        raise DataError.at(f"{place}[{row}]", detail)
