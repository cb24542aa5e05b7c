"""Attention between its projections, in plain numpy, a row of the batch at a time.

What both ways take: ``q`` (batch, steps, heads, width), ``k`` (batch, seen, heads, width) and ``v``
(batch, seen, heads, value width); ``shares`` (batch, heads, steps, seen), the weights of the
values; ``kept``, like these, is dropout's, or None; ``scale``, above 0, is what the scores are
multiplied by. ``work`` (2, heads, steps, seen) is scratch memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels.reference import multiply, softmax, softmax_backward

if TYPE_CHECKING:
    from chainrule.kernels.elementwise import Array

__all__ = ["attend", "attend_backward"]


def attend(  # noqa: PLR0913, PLR0917
    q: Array,
    k: Array,
    v: Array,
    padded: Array | None,
    causal: bool,
    kept: Array | None,
    scale: float,
    shares: Array,
    work: Array,
    mixed: Array,
) -> None:
    """Write shares = softmax(scale q k^T), and mixed = shares v.

    ``padded`` (batch, seen) tells the keys that get no share, ``causal`` that those after a query
    get none of it; a query that sees no key at all mixes nothing.
    Shapes: mixed (batch, steps, heads, value width).
    Source: Vaswani et al. (2017), section 3.2.
    """
    steps, seen = shares.shape[2:]
    later = np.arange(steps)[:, None] < np.arange(seen) if causal else None
    for row, scores in enumerate(shares):
        np.matmul(_heads(q[row]), _heads(k[row]).swapaxes(1, 2), out=scores)
        multiply(scores, scale, scores)
        _hide(scores, padded, row, later, np.finfo(scores.dtype).min / 2)
        softmax(scores, scores)
        _hide(scores, padded, row, later, 0.0)  # matters where a query has nothing else
        by = scores if kept is None else np.multiply(scores, kept[row], out=work[0])
        np.matmul(by, _heads(v[row]), out=_heads(mixed[row]))


def attend_backward(  # noqa: PLR0913, PLR0917
    q: Array,
    k: Array,
    v: Array,
    kept: Array | None,
    scale: float,
    shares: Array,
    dmixed: Array,
    work: Array,
    dq: Array,
    dk: Array,
    dv: Array,
) -> None:
    """Write the gradients in q, k and v.  Shapes: dmixed as mixed, dq, dk and dv as q, k and v."""
    slopes, other = work
    for row, share in enumerate(shares):
        back = _heads(dmixed[row])
        by = share if kept is None else np.multiply(share, kept[row], out=other)
        np.matmul(by.swapaxes(1, 2), back, out=_heads(dv[row]))
        np.matmul(back, _heads(v[row]).swapaxes(1, 2), out=slopes)
        if kept is not None:
            slopes *= kept[row]
        softmax_backward(share, slopes, other)
        other *= scale
        np.matmul(other, _heads(k[row]), out=_heads(dq[row]))
        np.matmul(other.swapaxes(1, 2), _heads(q[row]), out=_heads(dk[row]))


def _heads(steps: Array) -> Array:
    """Return a view with the heads first.  Shapes: (steps, heads, n) -> (heads, steps, n)."""
    return steps.swapaxes(0, 1)


def _hide(scores: Array, padded: Array | None, row: int, later: Array | None, value: float) -> None:
    """Write a value where a score must not count."""
    if padded is not None:
        np.copyto(scores, value, where=padded[row])
    if later is not None:
        np.copyto(scores, value, where=later)
