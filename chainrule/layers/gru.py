"""Gated recurrent units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.layers.recurrent import Recurrent, Run

if TYPE_CHECKING:
    from chainrule.spec.layers import GRUSpec
    from chainrule.tape import Array

__all__ = ["GRU"]


class _Run(Run):
    """What both orders of reset and product have."""

    def forward(self) -> None:
        self.gates = self.before_gates()
        self.units = self.shape[1]
        spec: GRUSpec = self.layer.spec  # type: ignore[assignment]
        self.activation, self.gate = spec.activation, spec.recurrent_activation
        super().forward()

    def output_back(self, t: int, d: Array, dz: Array) -> None:
        known = self.z[t], self.gates[t], self.h[t]
        kernels.gru_output_backward(*known, self.activation, self.gate, d[0], dz, self.work)


class _ResetAfter(_Run):
    """The reset gate acts on the product of state and kernel."""

    def forward(self) -> None:
        self.products = self.tape.empty(self.z.shape)
        super().forward()

    def step(self, t: int) -> None:
        z, product, gates, h = self.z[t], self.products[t], self.gates[t], self.h[t + 1]
        np.matmul(self.seen(t), self.layer.recurrent_kernel, out=product)
        if self.layer.bias is not None:
            product += self.layer.bias[1]
        kernels.gru_gates(z, product, self.gate, gates)
        units = self.units
        np.multiply(gates[:, units : 2 * units], product[:, 2 * units :], out=h)
        kernels.gru_output(z, h, self.h[t], self.activation, gates, h)

    def backward(self, dy: Array) -> Array:
        self.d_products = self.tape.empty(self.z.shape)
        return super().backward(dy)

    def step_back(self, t: int, d: Array, dz: Array) -> None:
        z, gates, d_product, units = self.z[t], self.gates[t], self.d_products[t], self.units
        self.output_back(t, d, dz)
        candidate, d_candidate = self.products[t][:, 2 * units :], dz[:, 2 * units :]
        kernels.gru_reset_backward(z, gates, candidate, d_candidate, self.gate, dz)
        np.copyto(d_product, dz)
        d_product[:, 2 * units :] *= gates[:, units : 2 * units]
        self.back_to_seen(d_product, self.work)
        d[0] += self.work

    def end_backward(self, dz: Array) -> None:
        layer, tape = self.layer, self.tape
        d_products = self.d_products.reshape(dz.shape)
        tape.gradient(layer.recurrent_kernel).add_matmul(self.all_seen.T, d_products)
        if layer.bias is not None:
            d_bias = tape.empty(layer.bias.shape)
            kernels.column_sums(dz, d_bias[0])
            kernels.column_sums(d_products, d_bias[1])
            tape.gradient(layer.bias).add(d_bias)


class _ResetBefore(_Run):
    """The reset gate acts on the state, before its product with the kernel's last block."""

    def forward(self) -> None:
        rows, units = self.shape
        self.product = self.tape.empty((rows, 2 * units))
        self.candidate = self.tape.empty(self.shape)
        self.reset = self.tape.empty((len(self.z), rows, units))
        super().forward()

    def split(self, of: Array) -> tuple[Array, Array]:
        """Return the blocks of both gates and that of the candidate."""
        return of[:, : 2 * self.units], of[:, 2 * self.units :]

    def step(self, t: int) -> None:
        z, gates, h, seen = self.z[t], self.gates[t], self.h[t + 1], self.seen(t)
        to_gates, to_candidate = self.split(self.layer.recurrent_kernel)
        np.matmul(seen, to_gates, out=self.product)
        kernels.gru_gates(z, self.product, self.gate, gates)
        np.multiply(gates[:, self.units : 2 * self.units], seen, out=self.reset[t])
        np.matmul(self.reset[t], to_candidate, out=self.candidate)
        kernels.gru_output(z, self.candidate, self.h[t], self.activation, gates, h)

    def backward(self, dy: Array) -> Array:
        self.d_reset = self.tape.empty(self.shape)
        return super().backward(dy)

    def step_back(self, t: int, d: Array, dz: Array) -> None:
        z, gates, d_reset, work = self.z[t], self.gates[t], self.d_reset, self.work
        to_gates, to_candidate = (
            self.back_kernel[: 2 * self.units],
            self.back_kernel[2 * self.units :],
        )
        self.output_back(t, d, dz)
        d_gates, d_candidate = self.split(dz)
        np.matmul(d_candidate, to_candidate, out=d_reset)
        kernels.gru_reset_backward(z, gates, self._seen[t], d_reset, self.gate, dz)
        d_reset *= gates[:, self.units : 2 * self.units]
        np.matmul(d_gates, to_gates, out=work)
        work += d_reset
        if self.kept is not None:
            work *= self.kept
        d[0] += work

    def end_backward(self, dz: Array) -> None:
        layer, tape = self.layer, self.tape
        total = tape.empty(layer.recurrent_kernel.shape)
        (to_gates, to_candidate), (d_gates, d_candidate) = self.split(total), self.split(dz)
        np.matmul(self.all_seen.T, d_gates, out=to_gates)
        np.matmul(self.reset.reshape(-1, self.units).T, d_candidate, out=to_candidate)
        tape.gradient(layer.recurrent_kernel).add(total)
        if layer.bias is not None:
            tape.gradient(layer.bias).add_sum(dz)


class GRU(Recurrent):
    """The state moves to a candidate as far as the update gate lets it.

    Shapes: as ``Recurrent``'s, with 3 units of gates: z r h; bias (2, gates), for the inputs and
    for the state, where the reset comes after the product.
    Source: Cho et al. (2014), in both versions of the paper.
    """

    @property
    def run(self) -> type[Run]:
        spec: GRUSpec = self.spec  # type: ignore[assignment]
        return _ResetAfter if spec.reset_after else _ResetBefore
