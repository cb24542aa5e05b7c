"""One vector at every step: from a code to a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.base import check_shape

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import RepeatVectorSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["RepeatVector"]


@dataclass(frozen=True)
class RepeatVector:
    """The input at each of ``n`` steps.  Shapes: x (batch, features) -> y (batch, n, features)."""

    n: int

    @classmethod
    def build(cls, spec: RepeatVectorSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.n)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        check_shape(x, ("batch", "features"), owner="RepeatVector")
        y = tape.empty((len(x), self.n, x.shape[1]))
        kernels.copy(x[:, None], y)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            if not wants_dx:
                return dy
            dx = tape.empty(x.shape)
            kernels.middle_sums(dy, dx)
            return dx

        return y, backward
