"""Attention: queries mix values by how alike they are to keys, in several heads at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.dropout import Dropout

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
    dropout: Layer
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
            Dropout(spec.dropout, number),
            spec.use_causal_mask,
        )

    def forward(self, xs: list[Array], tape: Tape) -> tuple[Array, Backwards]:
        query, value = xs[0], xs[min(1, len(xs) - 1)]
        key = xs[-1] if len(xs) > 2 else value
        wants_dx, hidden = tape.wants_dx, self._hidden(query, key, tape)
        tape.mask = tape.source_masks[0] if tape.source_masks else None
        scale = 1.0 / math.sqrt(self.query.kernel.shape[-1])
        q, k, v = (
            self.query.forward(query, tape),
            self.key.forward(key, tape),
            self.value.forward(value, tape),
        )
        kernels.multiply(q, scale, q)
        mixed, unmix = self._mix(q, k, v, hidden, tape)
        y = self.attention_output.forward(mixed, tape)

        def backward(dy: Array) -> list[Array]:
            dmixed = tape.empty(mixed.shape)
            self.attention_output.backward(mixed, dy, dmixed, tape)
            dq, dk, dv = unmix(dmixed)
            kernels.multiply(dq, scale, dq)
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
        self, q: Array, k: Array, v: Array, hidden: list[Array], tape: Tape
    ) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
        """Mix the values of each head; all arrays are (batch, steps, heads, width)."""
        qs, ks, vs = (array.transpose(0, 2, 1, 3) for array in (q, k, v))  # heads first
        scores = tape.empty((*qs.shape[:3], ks.shape[2]))
        kernels.matmul(qs, ks.swapaxes(2, 3), scores)
        for where in hidden:
            np.copyto(scores, np.finfo(scores.dtype).min / 2, where=where)
        kernels.softmax(scores, scores)
        for where in hidden:  # matters where a row has nothing else
            np.copyto(scores, 0.0, where=where)
        kept, undrop = self.dropout.forward(scores, tape)
        mixed = tape.empty((*q.shape[:3], v.shape[3]))
        kernels.matmul(kept, vs, mixed.transpose(0, 2, 1, 3))

        def backward(dmixed: Array) -> tuple[Array, Array, Array]:
            dms = dmixed.transpose(0, 2, 1, 3)
            dq, dk, dv = tape.empty(q.shape), tape.empty(k.shape), tape.empty(v.shape)
            dkept, dscores = tape.empty(scores.shape), tape.empty(scores.shape)
            kernels.matmul(kept.swapaxes(2, 3), dms, dv.transpose(0, 2, 1, 3))
            kernels.matmul(dms, vs.swapaxes(2, 3), dkept)
            kernels.softmax_backward(scores, undrop(dkept), dscores)
            kernels.matmul(dscores, ks, dq.transpose(0, 2, 1, 3))
            kernels.matmul(dscores.swapaxes(2, 3), qs, dk.transpose(0, 2, 1, 3))
            return dq, dk, dv

        return mixed, backward

    def _hidden(self, query: Array, key: Array, tape: Tape) -> list[Array]:
        """Return which scores must not count, each to be broadcast to all of them."""
        masks = tape.source_masks[1:] or tape.source_masks
        hidden = [~mask[:, None, None, :] for mask in masks if mask is not None]
        if self.causal:
            hidden.append(np.arange(query.shape[1])[:, None] < np.arange(key.shape[1]))
        return hidden


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
