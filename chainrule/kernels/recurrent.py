"""One step of a recurrent layer, forward and back, all but its matrix products, in plain numpy.

Each kernel works on one step of a batch: ``z`` is what goes into the gates, (batch, blocks of
units); ``gates`` what comes out, which may be z's memory unless an activation needs its input.
``product`` is the state's share of z, which is added here. A backward writes the gradient in z
to ``dz``, and takes the gradient in the states after the step to that before it in place, but for
what runs through ``product``.
"""

from __future__ import annotations

import numpy as np

from chainrule.kernels.elementwise import ELEMENTWISE, Array

__all__ = [
    "gru_gates",
    "gru_output",
    "gru_output_backward",
    "gru_reset_backward",
    "lstm_step",
    "lstm_step_backward",
    "simple_rnn_step",
    "simple_rnn_step_backward",
]


def simple_rnn_step(z: Array, product: Array, activation: str, h: Array) -> None:
    """Write the state h = f(z + product).  Shapes: all (batch, units)."""
    z += product
    ELEMENTWISE[activation].value(z, h)


def simple_rnn_step_backward(z: Array, h: Array, activation: str, dh: Array, dz: Array) -> None:
    """Write dz = f'(z) dh.  Shapes: all (batch, units)."""
    ELEMENTWISE[activation].slope(z, h, dz)
    dz *= dh


def lstm_step(  # noqa: PLR0913, PLR0917
    z: Array,
    product: Array,
    c_before: Array,
    activation: str,
    recurrent_activation: str,
    gates: Array,
    c: Array,
    active: Array,
    h: Array,
) -> None:
    """Write the gates i f g o, the cell c = f c + i g, ``active`` = act(c), and h = o act(c).

    Shapes: z, product, gates (batch, 4 units), the others (batch, units).
    Source: Hochreiter & Schmidhuber (1997); Gers et al. (2000) for the forget gate.
    """
    units = c.shape[1]
    function, gate = ELEMENTWISE[activation].value, ELEMENTWISE[recurrent_activation].value
    i, f, g, o = _blocks(gates, units)
    z += product
    # One pass over all blocks, the candidate's for nothing, takes half the time of one over each.
    function(z[:, 2 * units : 3 * units], h)
    gate(z, gates)
    np.copyto(g, h)
    np.multiply(f, c_before, out=c)
    np.multiply(i, g, out=h)
    c += h
    function(c, active)
    np.multiply(o, active, out=h)


def lstm_step_backward(  # noqa: PLR0913, PLR0917
    z: Array,
    gates: Array,
    c_before: Array,
    c: Array,
    active: Array,
    activation: str,
    recurrent_activation: str,
    dh: Array,
    dc: Array,
    dz: Array,
    work: Array,
) -> None:
    """Write dz, and take dc one step back.  Shapes: z, gates, dz (batch, 4 units), else units."""
    units = c.shape[1]
    slope, gate_slope = ELEMENTWISE[activation].slope, ELEMENTWISE[recurrent_activation].slope
    i, f, g, o = _blocks(gates, units)
    di, df, dg, do = _blocks(dz, units)
    slope(c, active, work)
    work *= dh
    work *= o
    dc += work
    gate_slope(z, gates, dz)  # in one pass, as above
    slope(z[:, 2 * units : 3 * units], g, dg)
    np.multiply(dc, g, out=work)
    di *= work
    np.multiply(dc, c_before, out=work)
    df *= work
    np.multiply(dc, i, out=work)
    dg *= work
    np.multiply(dh, active, out=work)
    do *= work
    dc *= f


def gru_gates(z: Array, product: Array, recurrent_activation: str, gates: Array) -> None:
    """Write the update gate u and the reset gate r, the first two blocks.

    Shapes: z, gates (batch, 3 units); product (batch, 2 units or more).
    """
    two = slice(None, 2 * (z.shape[1] // 3))
    z[:, two] += product[:, two]
    ELEMENTWISE[recurrent_activation].value(z[:, two], gates[:, two])


def gru_output(  # noqa: PLR0913, PLR0917
    z: Array, product: Array, h_before: Array, activation: str, gates: Array, h: Array
) -> None:
    """Write the candidate g = f(z + product), the third block, and h = u h_before + (1 - u) g.

    Shapes: z, gates (batch, 3 units); the others (batch, units). product may be h's memory.
    Source: Cho et al. (2014).
    """
    units = h.shape[1]
    u, _, g = _blocks(gates, units)
    into = z[:, 2 * units :]
    into += product
    ELEMENTWISE[activation].value(into, g)
    np.subtract(h_before, g, out=h)
    h *= u
    h += g


def gru_output_backward(  # noqa: PLR0913, PLR0917
    z: Array,
    gates: Array,
    h_before: Array,
    activation: str,
    recurrent_activation: str,
    dh: Array,
    dz: Array,
    work: Array,
) -> None:
    """Write the update gate's and the candidate's dz, and take dh one step back.

    Shapes: z, gates, dz (batch, 3 units); the others (batch, units).
    """
    units = dh.shape[1]
    u, _, g = _blocks(gates, units)
    du, _, dg = _blocks(dz, units)
    ELEMENTWISE[recurrent_activation].slope(z[:, :units], u, du)
    np.subtract(h_before, g, out=work)
    work *= dh
    du *= work
    ELEMENTWISE[activation].slope(z[:, 2 * units :], g, dg)
    np.subtract(1.0, u, out=work)
    work *= dh
    dg *= work
    dh *= u


def gru_reset_backward(  # noqa: PLR0913, PLR0917
    z: Array, gates: Array, value: Array, d: Array, recurrent_activation: str, dz: Array
) -> None:
    """Write the reset gate's dz, where ``d`` is the gradient in r times ``value``.

    Shapes: z, gates, dz (batch, 3 units); value, d (batch, units).
    """
    units = value.shape[1]
    r = slice(units, 2 * units)
    ELEMENTWISE[recurrent_activation].slope(z[:, r], gates[:, r], dz[:, r])
    dz[:, r] *= value
    dz[:, r] *= d


def _blocks(gates: Array, units: int) -> list[Array]:
    return [gates[:, start : start + units] for start in range(0, gates.shape[1], units)]
