"""Attention: queries mix values by how alike they are to keys, in several heads at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.dropout import draw_kept

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.spec.layers import MultiHeadAttentionSpec
    from chainrule.tape import Array, Tape

    Backwards = Callable[[Array], list[Array]]

__all__ = ["MultiHeadAttention"]


@dataclass(frozen=True)
class MultiHeadAttention:
    """softmax(q k^T / sqrt(key_dim)) v in each head, the heads joined by one more kernel.

    Padded keys, which the tape's masks leave out, get no weight; a query that sees no key at all
    mixes nothing. Steps that the query's mask leaves out are computed like others.
    Shapes: query (batch, steps, features), value and key (batch, seen, ...) -> y like the query.
    Source: Vaswani et al. (2017), section 3.2, laid out as Keras 3.
    """

    query: _Projection
    key: _Projection
    value: _Projection
    attention_output: _Projection
    rate: float  # of dropout
    stream: int  # which of a step's random streams is its own
    causal: bool

    @classmethod
    def build(cls, spec: MultiHeadAttentionSpec, number: int, parameters: Parameters) -> Layer:
        def projection(name: str, inputs: int) -> _Projection:
            kernel, bias = parameters[f"{name}.kernel"], parameters.get(f"{name}.bias")
            return _Projection(kernel, bias, math.prod(kernel.shape[:inputs]))

        return cls(
            projection("query", 1),
            projection("key", 1),
            projection("value", 1),
            projection("attention_output", 2),
            spec.dropout,
            number,
            spec.use_causal_mask,
        )

    def forward(self, xs: list[Array], tape: Tape) -> tuple[Array, Backwards]:
        query, value = xs[0], xs[min(1, len(xs) - 1)]
        key = xs[-1] if len(xs) > 2 else value
        wants_dx, padded = tape.wants_dx, _padded(tape)
        tape.mask = tape.source_masks[0] if tape.source_masks else None
        q, k, v = (
            self.query.forward(query, tape),
            self.key.forward(key, tape),
            self.value.forward(value, tape),
        )
        mixed, unmix = self._mix(q, k, v, padded, tape)
        y = self.attention_output.forward(mixed, tape)

        def backward(dy: Array) -> list[Array]:
            dmixed = tape.empty(mixed.shape)
            self.attention_output.backward(mixed, dy, dmixed, tape)
            dq, dk, dv = unmix(dmixed)
            parts = ((self.query, query, dq), (self.value, value, dv), (self.key, key, dk))
            found = []
            for projection, x, slope in parts:
                dx = tape.empty(x.shape) if wants_dx else None
                projection.backward(x, slope, dx, tape)
                found.append(slope if dx is None else dx)
            if wants_dx:
                for place in range(2, len(xs) - 1, -1):  # an input in several roles
                    kernels.add(found[place - 1], found[place], found[place - 1])
            return found[: len(xs)]

        return y.reshape(query.shape), backward

    def _mix(
        self, q: Array, k: Array, v: Array, padded: Array | None, tape: Tape
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
        """Mix the values of each head; all arrays are (batch, steps, heads, width)."""
        batch, steps, heads, width = q.shape
        scores, scale = (heads, steps, k.shape[1]), 1.0 / math.sqrt(width)
        kept = self._kept((batch, *scores), tape)
        shares, work = tape.empty((batch, *scores)), tape.empty((2, *scores))
        mixed = tape.empty((batch, steps, heads, v.shape[3]))
        kernels.attend(q, k, v, padded, self.causal, kept, scale, shares, work, mixed)

        def backward(dmixed: Array) -> tuple[Array, Array, Array]:
            slopes = tape.empty(q.shape), tape.empty(k.shape), tape.empty(v.shape)
            kernels.attend_backward(q, k, v, kept, scale, shares, dmixed, work, *slopes)
            return slopes

        return mixed, backward

    def _kept(self, shape: tuple[int, ...], tape: Tape) -> Array | None:
        if not tape.training or self.rate == 0.0:
            return None
        return draw_kept(shape, self.rate, tape.random(self.stream), tape)


def _padded(tape: Tape) -> Array | None:
    """Return which keys must not count, as the masks of the values and of the keys have it."""
    masks = tape.source_masks[1:] or tape.source_masks
    padded = None
    for mask in masks:
        if mask is not None:
            padded = ~mask if padded is None else padded | ~mask
    return padded


@dataclass(frozen=True)
class _Projection:
    """An affine map whose kernel has an axis more than a matrix, on the input's or output's side.

    Shapes: x (batch, steps, ...) of ``n_in`` values a step -> (batch, steps, ...).
    """

    kernel: Array
    bias: Array | None
    n_in: int

    def forward(self, x: Array, tape: Tape) -> Array:
        check_shape(x.reshape(*x.shape[:2], -1), ("batch", "steps", self.n_in), owner="Attention")
        matrix = self.kernel.reshape(self.n_in, -1)
        y = tape.empty(self._rows(x))
        kernels.matmul(x.reshape(-1, self.n_in), matrix, y)
        if self.bias is not None:
            kernels.bias_activation(y, self.bias.reshape(-1), "linear", y)
        outer = self.kernel.shape[1:] if self.kernel.shape[0] == self.n_in else matrix.shape[1:]
        return y.reshape(*x.shape[:2], *outer)

    def backward(self, x: Array, dy: Array, dx: Array | None, tape: Tape) -> None:
        """Add the parameters' gradients, and write the one in x if it is wanted."""
        slope = dy.reshape(self._rows(x))
        tape.gradient(self.kernel).add_matmul(x.reshape(-1, self.n_in).T, slope)
        if self.bias is not None:
            tape.gradient(self.bias).add_sum(slope.reshape(-1, *self.bias.shape))
        if dx is not None:
            matrix = self.kernel.reshape(self.n_in, -1)
            kernels.matmul(slope, matrix.T, dx.reshape(-1, self.n_in))

    def _rows(self, x: Array) -> tuple[int, int]:
        return x.shape[0] * x.shape[1], self.kernel.size // self.n_in
