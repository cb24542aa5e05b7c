"""Activations: every function of the elementwise table, and softmax, which couples a whole axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels

if TYPE_CHECKING:
    from chainrule.layers.base import Layer, Parameters
    from chainrule.spec.layers import ActivationSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Activation", "activate"]


@dataclass(frozen=True)
class Activation:
    """A function of each element, or softmax over the last axis.

    Shapes: x -> y alike.
    Source: Keras 3's functions and constants (leaky_relu 0.2, elu 1, gelu by erf, swish 1).
    """

    activation: str

    @classmethod
    def build(cls, spec: ActivationSpec, number: int, parameters: Parameters) -> Layer:
        return cls(spec.activation)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        return activate(self.activation, x, None, tape, own=False)


def activate(
    activation: str, x: Array, bias: Array | None, tape: Tape, *, own: bool
) -> tuple[Array, Backward]:
    """Add a bias and activate; the backward takes the gradient in y to the one before the bias.

    ``own`` says that x is the caller's scratch: then it takes the bias, and y where it can.
    """
    if activation == "softmax":
        return _softmax(x, bias, tape)
    needs_x = kernels.ELEMENTWISE[activation].needs_x
    keeps_slope = own and needs_x  # which costs little more forward, and all of it back
    y = x if (own and not needs_x) or activation == "linear" else tape.empty(x.shape)
    if keeps_slope:
        kernels.bias_activation_slope(x, bias, activation, y)
    else:
        kernels.bias_activation(x, bias, activation, y)

    def backward(dy: Array) -> Array:
        if activation == "linear":
            return dy
        dx = tape.empty(y.shape)
        if keeps_slope:
            kernels.multiply(x, dy, dx)
        else:
            kernels.activation_backward(activation, x, y, dy, dx)
        return dx

    return y, backward


def _softmax(x: Array, bias: Array | None, tape: Tape) -> tuple[Array, Backward]:
    y = tape.empty(x.shape)
    if bias is not None:
        kernels.add(x, bias, x)
    kernels.softmax(x, y)

    def backward(dy: Array) -> Array:
        dx = tape.empty(y.shape)
        kernels.softmax_backward(y, dy, dx)
        return dx

    return y, backward
