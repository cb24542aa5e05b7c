"""Two recurrent layers, one along a sequence and one against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.gru import GRU
from chainrule.layers.lstm import LSTM
from chainrule.layers.simple_rnn import SimpleRNN

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.layers.base import Layer, Parameters
    from chainrule.layers.recurrent import Recurrent
    from chainrule.spec.layers import BidirectionalSpec
    from chainrule.tape import Array, Backward, Tape

    # Takes the gradient in the merged output, returns those in both.
    Split = Callable[[Array], tuple[Array, Array]]

__all__ = ["Bidirectional"]

_LAYERS: dict[str, type[Recurrent]] = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
_STREAMS = 1000  # the most layers there are: the numbers beyond are free for streams


@dataclass(frozen=True)
class Bidirectional:
    """The merged outputs of a layer that runs along the sequence and one that runs against it.

    Padded steps put out zeros, as Keras wraps layers.
    Shapes: x (batch, steps, inputs) -> y (batch, units), or (batch, steps, units) of all steps;
    twice the units with ``concat``.
    Source: Schuster & Paliwal (1997).
    """

    along: Recurrent
    against: Recurrent
    merge_mode: str

    @classmethod
    def build(cls, spec: BidirectionalSpec, number: int, parameters: Parameters) -> Layer:
        of, zeros = _LAYERS[spec.layer.kind].of, spec.layer.return_sequences
        along = of(
            spec.layer, _own("forward.", parameters), carries=None, stream=number, zeros=zeros
        )
        against = of(
            spec.backward_layer,
            _own("backward.", parameters),
            carries=None,
            stream=_STREAMS + number,
            zeros=zeros,
        )
        return cls(along, against, spec.merge_mode)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        mask, wants_dx = tape.mask, tape.wants_dx
        left, left_back = self.along.forward(x, tape)
        tape.mask, mask = mask, tape.mask  # the output's steps are in the order of the first
        right, right_back = self.against.forward(x, tape)
        tape.mask = mask
        y, split = self._merge(left, _turned(right), tape)

        def backward(dy: Array) -> Array:
            d_left, d_right = split(dy)
            dx, other = left_back(d_left), right_back(_turned(d_right))
            if not wants_dx:
                return dy
            kernels.add(dx, other, dx)
            return dx

        return y, backward

    def _merge(self, left: Array, right: Array, tape: Tape) -> tuple[Array, Split]:
        if self.merge_mode == "concat":
            return _concat(left, right, tape)
        if self.merge_mode == "mul":
            return _multiply(left, right, tape)
        y = tape.empty(left.shape)
        kernels.add(left, right, y)
        if self.merge_mode == "sum":
            return y, lambda dy: (dy, dy)
        kernels.multiply(y, 0.5, y)

        def halve(dy: Array) -> tuple[Array, Array]:
            half = tape.empty(dy.shape)
            kernels.multiply(dy, 0.5, half)
            return half, half

        return y, halve


def _own(prefix: str, parameters: Parameters) -> Parameters:
    """Return one layer's tensors by their names within it."""
    return {
        name.removeprefix(prefix): view
        for name, view in parameters.items()
        if name.startswith(prefix)
    }


def _turned(y: Array) -> Array:
    """Return a view of a sequence in the other order; a single vector as it is."""
    return y[:, ::-1] if y.ndim == 3 else y


def _concat(left: Array, right: Array, tape: Tape) -> tuple[Array, Split]:
    units = left.shape[-1]
    y = tape.empty((*left.shape[:-1], 2 * units))
    kernels.copy(left, y[..., :units])
    kernels.copy(right, y[..., units:])
    return y, lambda dy: (dy[..., :units], dy[..., units:])


def _multiply(left: Array, right: Array, tape: Tape) -> tuple[Array, Split]:
    y = tape.empty(left.shape)
    kernels.multiply(left, right, y)

    def split(dy: Array) -> tuple[Array, Array]:
        d_left, d_right = tape.empty(dy.shape), tape.empty(dy.shape)
        kernels.multiply(dy, right, d_left)
        kernels.multiply(dy, left, d_right)
        return d_left, d_right

    return y, split
