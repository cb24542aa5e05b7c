"""The plain recurrent layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.layers.recurrent import Recurrent, Run

if TYPE_CHECKING:
    from chainrule.tape import Array

__all__ = ["SimpleRNN"]


class _Run(Run):
    def forward(self) -> None:
        self.product = self.tape.empty(self.z.shape[1:])
        super().forward()

    def step(self, t: int) -> None:
        np.matmul(self.seen(t), self.layer.recurrent_kernel, out=self.product)
        h = self.h[t + 1]
        kernels.simple_rnn_step(self.z[t], self.product, self.layer.spec.activation, h)

    def step_back(self, t: int, d: Array, dz: Array) -> None:
        activation, h = self.layer.spec.activation, self.h[t + 1]
        kernels.simple_rnn_step_backward(self.z[t], h, activation, d[0], dz)
        self.back_to_seen(dz, d[0])


class SimpleRNN(Recurrent):
    """The state is the output, ``h = f(x @ kernel + h_before @ recurrent_kernel + bias)``.

    Source: Elman (1990).
    """

    @property
    def run(self) -> type[Run]:
        return _Run
