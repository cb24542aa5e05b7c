"""All steps of a recurrent layer, forward and back, but for the inputs' products, in plain numpy.

What every kernel takes, time first, of ``gates`` blocks of units:
``z`` (steps, batch, gates), the inputs' share of what goes into the gates, to which the state's is
added; ``gates``, what comes out, which may be z's memory unless a slope needs what went in;
``kernel`` (units, gates); ``bias`` (gates,) or None; the states (steps + 1, batch, units), the
first of which is given. ``kept`` (batch, units) is the recurrent dropout and ``seen`` (steps,
batch, units) what it leaves of each state, both None where there is none. ``padded`` (steps,
batch, 1) tells the steps that change nothing, ``shown`` those whose output is not zero whatever the
state, None where there are no such steps.
A backward takes ``dy``, the gradient in each step's output (steps, batch, units) or in the last
one's (batch, units), and writes ``dz``, that in z. ``d`` and ``work`` (batch, units), and
``panels``, of gates (units + 31) values, are scratch memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.kernels.elementwise import ELEMENTWISE, Array

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["gru", "gru_backward", "lstm", "lstm_backward", "simple_rnn", "simple_rnn_backward"]


def simple_rnn(  # noqa: PLR0913, PLR0917
    z: Array,
    bias: Array | None,
    kernel: Array,
    kept: Array | None,
    padded: Array | None,
    activation: str,
    seen: Array | None,
    h: Array,
    panels: Array,
) -> None:
    """Write the states h = f(z + h_before kernel + bias)."""
    for t in range(len(z)):
        z[t] += _seen(h, kept, seen, t) @ kernel
        if bias is not None:
            z[t] += bias
        ELEMENTWISE[activation].value(z[t], h[t + 1])
        _hold(h, padded, t)


def simple_rnn_backward(  # noqa: PLR0913, PLR0917
    z: Array,
    kernel: Array,
    kept: Array | None,
    padded: Array | None,
    shown: Array | None,
    activation: str,
    h: Array,
    dy: Array,
    d: Array,
    dz: Array,
    work: Array,
    panels: Array,
) -> None:
    """Write dz = f'(z) dh."""

    def step(t: int) -> None:
        ELEMENTWISE[activation].slope(z[t], h[t + 1], dz[t])
        dz[t] *= d
        np.matmul(dz[t], kernel.T, out=d)
        _drop(d, kept)

    _back(step, len(z), d[None], dy, padded, shown)


def lstm(  # noqa: PLR0913, PLR0917
    z: Array,
    bias: Array | None,
    kernel: Array,
    kept: Array | None,
    padded: Array | None,
    activation: str,
    recurrent_activation: str,
    seen: Array | None,
    gates: Array,
    states: Array,
    active: Array,
    panels: Array,
) -> None:
    """Write the gates i f g o, the cells c = f c_before + i g, ``active`` = act(c), h = o act(c).

    Shapes: gates (steps, batch, 4 units), states (2, steps + 1, batch, units) of h and c, active
    (steps, batch, units).
    Source: Hochreiter & Schmidhuber (1997); Gers et al. (2000) for the forget gate.
    """
    (h, c), units = states, kernel.shape[0]
    function, gate = ELEMENTWISE[activation].value, ELEMENTWISE[recurrent_activation].value
    for t in range(len(z)):
        z[t] += _seen(h, kept, seen, t) @ kernel
        if bias is not None:
            z[t] += bias
        i, f, g, o = _blocks(gates[t], units)
        # One pass over all blocks takes half the time of one over each.
        function(z[t][:, 2 * units : 3 * units], h[t + 1])
        gate(z[t], gates[t])
        np.copyto(g, h[t + 1])
        np.multiply(f, c[t], out=c[t + 1])
        c[t + 1] += i * g
        function(c[t + 1], active[t])
        np.multiply(o, active[t], out=h[t + 1])
        _hold(h, padded, t)
        _hold(c, padded, t)


def lstm_backward(  # noqa: PLR0913, PLR0917
    z: Array,
    kernel: Array,
    kept: Array | None,
    padded: Array | None,
    shown: Array | None,
    activation: str,
    recurrent_activation: str,
    gates: Array,
    states: Array,
    active: Array,
    dy: Array,
    d: Array,
    dz: Array,
    work: Array,
    panels: Array,
) -> None:
    """Write dz.  Shapes: as ``lstm``'s; d (2, batch, units)."""
    (_, c), (dh, dc), units = states, d, kernel.shape[0]
    slope, gate_slope = ELEMENTWISE[activation].slope, ELEMENTWISE[recurrent_activation].slope

    def step(t: int) -> None:
        i, f, g, o = _blocks(gates[t], units)
        di, df, dg, do = _blocks(dz[t], units)
        slope(c[t + 1], active[t], work)
        np.add(dc, work * dh * o, out=dc)
        gate_slope(z[t], gates[t], dz[t])  # in one pass, as above
        slope(z[t][:, 2 * units : 3 * units], g, dg)
        di *= dc * g
        df *= dc * c[t]
        dg *= dc * i
        do *= dh * active[t]
        np.multiply(dc, f, out=dc)
        np.matmul(dz[t], kernel.T, out=dh)
        _drop(dh, kept)

    _back(step, len(z), d, dy, padded, shown)


def gru(  # noqa: PLR0913, PLR0917
    z: Array,
    bias: Array | None,
    inner_bias: Array | None,
    kernel: Array,
    kept: Array | None,
    padded: Array | None,
    activation: str,
    recurrent_activation: str,
    reset_after: bool,
    seen: Array | None,
    gates: Array,
    h: Array,
    inner: Array,
    panels: Array,
) -> None:
    """Write the gates u r g, and the states h = u h_before + (1 - u) g.

    ``inner`` is the state's product with the kernel's last block and the inner bias, which r
    multiplies, where the reset comes after; else what r leaves of the state for that product.
    Shapes: gates (steps, batch, 3 units), inner (steps, batch, units), inner_bias (units,).
    Source: Cho et al. (2014), in both versions of the paper.
    """
    units = kernel.shape[0]
    two, last = slice(2 * units), slice(2 * units, None)
    function, gate = ELEMENTWISE[activation].value, ELEMENTWISE[recurrent_activation].value
    for t in range(len(z)):
        of = _seen(h, kept, seen, t)
        u, r, g = _blocks(gates[t], units)
        if bias is not None:
            z[t] += bias
        z[t][:, two] += of @ kernel[:, two]
        gate(z[t][:, two], gates[t][:, two])
        if reset_after:
            np.matmul(of, kernel[:, last], out=inner[t])
            if inner_bias is not None:
                inner[t] += inner_bias
            z[t][:, last] += r * inner[t]
        else:
            np.multiply(r, of, out=inner[t])
            z[t][:, last] += inner[t] @ kernel[:, last]
        function(z[t][:, last], g)
        np.subtract(h[t], g, out=h[t + 1])
        h[t + 1] *= u
        h[t + 1] += g
        _hold(h, padded, t)


def gru_backward(  # noqa: PLR0913, PLR0917
    z: Array,
    kernel: Array,
    kept: Array | None,
    padded: Array | None,
    shown: Array | None,
    activation: str,
    recurrent_activation: str,
    reset_after: bool,
    seen: Array,
    gates: Array,
    h: Array,
    inner: Array,
    dy: Array,
    d: Array,
    dz: Array,
    d_inner: Array,
    work: Array,
    panels: Array,
) -> None:
    """Write dz, and ``d_inner``, the gradient in ``inner``.

    Shapes: as ``gru``'s; seen is h[:-1] where there is no recurrent dropout.
    """
    units = kernel.shape[0]
    two, last = slice(2 * units), slice(2 * units, None)
    slope, gate_slope = ELEMENTWISE[activation].slope, ELEMENTWISE[recurrent_activation].slope

    def step(t: int) -> None:
        u, r, g = _blocks(gates[t], units)
        du, dr, dg = _blocks(dz[t], units)
        gate_slope(z[t][:, two], gates[t][:, two], dz[t][:, two])
        slope(z[t][:, last], g, dg)
        du *= (h[t] - g) * d
        dg *= (1.0 - u) * d
        np.multiply(d, u, out=d)
        if reset_after:
            dr *= inner[t] * dg
            np.multiply(dg, r, out=d_inner[t])
            np.matmul(d_inner[t], kernel[:, last].T, out=work)
        else:
            np.matmul(dg, kernel[:, last].T, out=d_inner[t])
            dr *= seen[t] * d_inner[t]
            np.multiply(d_inner[t], r, out=work)
        np.add(work, dz[t][:, two] @ kernel[:, two].T, out=work)
        _drop(work, kept)
        np.add(d, work, out=d)

    _back(step, len(z), d[None], dy, padded, shown)


def _seen(h: Array, kept: Array | None, seen: Array | None, t: int) -> Array:
    """Return the output before a step, as the recurrent kernel sees it."""
    of: Array = h[t]
    return of if kept is None or seen is None else np.multiply(of, kept, out=seen[t])


def _drop(d: Array, kept: Array | None) -> None:
    if kept is not None:
        d *= kept


def _hold(states: Array, padded: Array | None, t: int) -> None:
    if padded is not None:
        np.copyto(states[t + 1], states[t], where=padded[t])


def _back(  # noqa: PLR0913, PLR0917
    step: Callable[[int], None],
    steps: int,
    d: Array,
    dy: Array,
    padded: Array | None,
    shown: Array | None,
) -> None:
    """Take d, the gradient in the states after each step to that before by ``step``, in place.

    Shapes: d (n, batch, units), the output's first.
    """
    d.fill(0.0)
    if dy.ndim == 2:
        d[0] = dy
    for t in range(steps - 1, -1, -1):
        if dy.ndim == 3:
            np.add(d[0], dy[t], out=d[0], where=True if shown is None else shown[t])
        if padded is None:
            step(t)
            continue
        passing = d * padded[t]  # runs by the step untouched
        np.copyto(d, 0.0, where=padded[t])
        step(t)
        d += passing


def _blocks(gates: Array, units: int) -> list[Array]:
    return [gates[:, start : start + units] for start in range(0, gates.shape[1], units)]
