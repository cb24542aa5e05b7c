"""Activations: every function of the elementwise table, and softmax, which couples a whole axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import ActivationSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["NO_ENDING", "Activation", "Ending"]


@dataclass(frozen=True)
class Ending:
    """A bias and an activation: those of a layer, or, by a plan, of a neighbour of it."""

    bias: Array | None = None
    activation: str = "linear"

    def apply(self, x: Array, tape: Tape, *, own: bool = True) -> tuple[Array, Backward]:
        """Add the bias and activate; the backward takes the gradient in y to the one in x.

        ``own`` says that x is the caller's scratch: then it takes the bias, and y where it can.
        """
        if self.activation == "softmax":
            return self._softmax(x, tape)
        is_linear = self.activation == "linear"
        needs_x = kernels.ELEMENTWISE[self.activation].needs_x
        keeps_slope = own and needs_x  # which costs little more forward, and all of it back
        y = x if (own and not needs_x) or is_linear else tape.empty(x.shape)
        if keeps_slope:
            kernels.bias_activation_slope(x, self.bias, self.activation, y)
        elif self.bias is not None or not is_linear:
            kernels.bias_activation(x, self.bias, self.activation, y)

        def backward(dy: Array) -> Array:
            if is_linear:
                self._learn(dy, tape)
                return dy
            dx = tape.empty(y.shape)
            if keeps_slope:
                kernels.multiply(x, dy, dx)
                self._learn(dx, tape)
                return dx

            def write(sums: Array | None) -> None:
                kernels.activation_backward(self.activation, x, y, dy, dx, sums)

            if self.bias is None:
                write(None)
            else:
                tape.gradient(self.bias).add_written(write)
            return dx

        return y, backward

    def _softmax(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        y = tape.empty(x.shape)
        if self.bias is not None:
            kernels.add(x, self.bias, x)
        kernels.softmax(x, y)

        def backward(dy: Array) -> Array:
            dx = tape.empty(y.shape)
            kernels.softmax_backward(y, dy, dx)
            self._learn(dx, tape)
            return dx

        return y, backward

    def _learn(self, dx: Array, tape: Tape) -> None:
        if self.bias is not None:
            tape.gradient(self.bias).add_sum(dx)


NO_ENDING = Ending()


@dataclass(frozen=True)
class Activation:
    """A function of each element, or softmax over the last axis.

    Shapes: x -> y alike.
    Source: Keras 3's functions and constants (leaky_relu 0.2, elu 1, gelu by erf, swish 1).
    """

    ending: Ending

    @classmethod
    def build(cls, spec: ActivationSpec, number: int, parameters: Parameters) -> Layer:
        return cls(Ending(activation=spec.activation))

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        return self.ending.apply(x, tape, own=False)
