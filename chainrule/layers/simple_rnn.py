"""The plain recurrent layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.recurrent import Recurrent, Run

if TYPE_CHECKING:
    from chainrule.tape import Array, Backward, Tape

__all__ = ["SimpleRNN"]


class SimpleRNN(Recurrent):
    """The state is the output, ``h = f(x @ kernel + h_before @ recurrent_kernel + bias)``.

    Source: Elman (1990).
    """

    def run(self, run: Run, tape: Tape) -> Backward:
        z, h, kernel, f = run.z, run.h, self.recurrent_kernel, self.spec.activation
        dropped = kernel, run.kept, run.padded
        kernels.simple_rnn(z, self.bias, *dropped, f, run.seen, h, run.panels)

        def backward(dy: Array) -> Array:
            back = run.back(dy, tape)
            kernels.simple_rnn_backward(z, *dropped, run.shown, f, h, *back)
            return self.add_gradients(run, back[2], tape)

        return backward
