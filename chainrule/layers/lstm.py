"""Long short-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.layers.recurrent import Recurrent, Run

if TYPE_CHECKING:
    from chainrule.spec.layers import LSTMSpec
    from chainrule.tape import Array

__all__ = ["LSTM"]


class _Run(Run):
    def forward(self) -> None:
        self.c = self.states[1]
        self.gates = self.before_gates()
        self.active = self.tape.empty(self.c[1:].shape)
        self.product = self.tape.empty(self.z.shape[1:])
        super().forward()

    @property
    def activations(self) -> tuple[str, str]:
        spec: LSTMSpec = self.layer.spec  # type: ignore[assignment]
        return spec.activation, spec.recurrent_activation

    def step(self, t: int) -> None:
        np.matmul(self.seen(t), self.layer.recurrent_kernel, out=self.product)
        before, after = self.c[t], self.c[t + 1]
        into = self.gates[t], after, self.active[t], self.h[t + 1]
        kernels.lstm_step(self.z[t], self.product, before, *self.activations, *into)

    def step_back(self, t: int, d: Array, dz: Array) -> None:
        known = self.z[t], self.gates[t], self.c[t], self.c[t + 1], self.active[t]
        kernels.lstm_step_backward(*known, *self.activations, d[0], d[1], dz, self.work)
        self.back_to_seen(dz, d[0])


class LSTM(Recurrent):
    """A cell that an input and a forget gate write, and an output gate reads.

    Shapes: as ``Recurrent``'s, with 4 units of gates: i f c o.
    Source: Hochreiter & Schmidhuber (1997); Gers et al. (2000).
    """

    @property
    def run(self) -> type[Run]:
        return _Run
