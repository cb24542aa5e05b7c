"""Long short-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.recurrent import Recurrent, Run

if TYPE_CHECKING:
    from chainrule.spec.layers import LSTMSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["LSTM"]


class LSTM(Recurrent):
    """A cell that an input and a forget gate write, and an output gate reads.

    Shapes: as ``Recurrent``'s, with 4 units of gates: i f c o.
    Source: Hochreiter & Schmidhuber (1997); Gers et al. (2000).
    """

    def run(self, run: Run, tape: Tape) -> Backward:
        spec: LSTMSpec = self.spec  # type: ignore[assignment]
        functions = spec.activation, spec.recurrent_activation
        common = self.recurrent_kernel, run.kept, run.padded
        out = self.before_gates(run.z, tape), run.states, tape.empty(run.h[1:].shape)
        kernels.lstm(run.z, self.bias, *common, *functions, run.seen, *out, run.panels)

        def backward(dy: Array) -> Array:
            back = run.back(dy, tape)
            kernels.lstm_backward(run.z, *common, run.shown, *functions, *out, *back)
            return self.add_gradients(run, back[2], tape)

        return backward
