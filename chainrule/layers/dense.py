"""The fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.activation import Ending
from chainrule.layers.base import Layer, Parameters, check_shape

if TYPE_CHECKING:
    from chainrule.spec.layers import DenseSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Dense"]


@dataclass(frozen=True)
class Dense:
    """Affine map of the last axis, and activation ``y = f(x @ kernel + bias)``.

    Shapes: x (batch, ..., inputs), kernel (inputs, units), whatever unit axes it has before them,
    bias (units,) -> y (batch, ..., units).
    Raises: ShapeError, if x is not (batch, ..., inputs).
    """

    kernel: Array  # views of the network's flat vector; gradients belong to the tape
    bias: Array | None
    activation: str

    @classmethod
    def build(cls, spec: DenseSpec, number: int, parameters: Parameters) -> Layer:
        return cls(parameters["kernel"], parameters.get("bias"), spec.activation)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        n_in, units = self.kernel.shape[-2:]
        kernel = self.kernel.reshape(n_in, units)
        if x.ndim < 2 or x.shape[-1] != n_in:
            check_shape(x, ("batch", *x.shape[1:-1], n_in), owner="Dense")
        flat = x.reshape(-1, n_in)  # a step of a sequence is one more row
        z = tape.empty((len(flat), units))
        kernels.matmul(flat, kernel, z)
        y, end_back = Ending(self.bias, self.activation).apply(z, tape)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = end_back(dy.reshape(y.shape))
            tape.gradient(self.kernel).add_matmul(flat.T, dz)
            if not wants_dx:
                return dy
            dx = tape.empty(flat.shape)
            kernels.matmul(dz, kernel.T, dx)
            return dx.reshape(x.shape)

        return y.reshape(*x.shape[:-1], units), backward
