"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import DropoutSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Dropout", "draw_kept"]


@dataclass(frozen=True)
class Dropout:
    """While training, zero elements with probability ``rate``, scale the rest by 1/(1 - rate).

    Shapes: x -> y alike.
    Source: Srivastava et al. (2014), in the inverted form.
    """

    rate: float
    stream: int  # the layer's number: which of a step's random streams is its own

    @classmethod
    def build(cls, spec: DropoutSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.rate, number)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        if not tape.training or self.rate == 0.0:
            return x, _same
        mask = draw_kept(x.shape, self.rate, tape.random(self.stream), tape)
        y = np.multiply(x, mask, out=tape.empty(x.shape))

        def backward(dy: Array) -> Array:
            return np.multiply(dy, mask, out=tape.empty(x.shape))

        return y, backward


def draw_kept(shape: tuple[int, ...], rate: float, rng: np.random.Generator, tape: Tape) -> Array:
    """Return 0 or 1/(1 - rate) per element: the same draw whatever the precision."""
    uniform = tape.empty(shape, np.float32)
    rng.random(out=uniform, dtype=np.float32)
    kept = np.greater_equal(uniform, rate, out=tape.empty(shape))
    kept *= 1.0 / (1.0 - rate)
    return kept


def _same(dy: Array) -> Array:
    return dy
