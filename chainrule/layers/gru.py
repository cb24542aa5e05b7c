"""Gated recurrent units."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import kernels
from chainrule.layers.recurrent import Recurrent, Run, flat

if TYPE_CHECKING:
    from chainrule.spec.layers import GRUSpec
    from chainrule.tape import Array, Backward, Tape

__all__ = ["GRU"]


class GRU(Recurrent):
    """The state moves to a candidate as far as the update gate lets it.

    Shapes: as ``Recurrent``'s, with 3 units of gates: z r h; bias (2, gates), for the inputs and
    for the state, where the reset comes after the product.
    Source: Cho et al. (2014), in both versions of the paper.
    """

    def run(self, run: Run, tape: Tape) -> Backward:
        spec: GRUSpec = self.spec  # type: ignore[assignment]
        functions = spec.activation, spec.recurrent_activation
        after = spec.reset_after
        common = self.recurrent_kernel, run.kept, run.padded
        gates, inner = self.before_gates(run.z, tape), tape.empty(run.h[1:].shape)
        out = gates, run.h, inner
        bias, inner_bias = self._biases(tape)
        given = run.z, bias, inner_bias, *common
        kernels.gru(*given, *functions, after, run.seen, *out, run.panels)

        def backward(dy: Array) -> Array:
            d_inner = tape.empty(inner.shape)
            dy, d, dz, *scratch = run.back(dy, tape)
            back = run.before, *out, dy, d, dz, d_inner, *scratch
            kernels.gru_backward(run.z, *common, run.shown, *functions, after, *back)
            self._add_gradients(run, inner, dz, d_inner, tape)
            return dz

        return backward

    def _biases(self, tape: Tape) -> tuple[Array | None, Array | None]:
        """Return the bias of all that goes into the gates, and that of what the reset acts on."""
        if self.bias is None or self.bias.ndim == 1:
            return self.bias, None
        units = len(self.recurrent_kernel)
        total = tape.empty(self.bias[0].shape)
        kernels.add(self.bias[0], self.bias[1], total)
        kernels.copy(self.bias[0, 2 * units :], total[2 * units :])
        return total, self.bias[1, 2 * units :]

    def _add_gradients(self, run: Run, inner: Array, dz: Array, d_inner: Array, tape: Tape) -> None:
        """Add to the gradients of the recurrent kernel, in its two parts, and the bias."""
        units = inner.shape[2]
        spec: GRUSpec = self.spec  # type: ignore[assignment]
        total, slopes = tape.empty(self.recurrent_kernel.shape), flat(dz)
        last = (run.before, d_inner) if spec.reset_after else (inner, dz[..., 2 * units :])
        kernels.matmul(flat(run.before).T, slopes[:, : 2 * units], total[:, : 2 * units])
        kernels.matmul(flat(last[0]).T, flat(last[1]), total[:, 2 * units :])
        tape.gradient(self.recurrent_kernel).add(total)
        if self.bias is None:
            return
        if not spec.reset_after:
            tape.gradient(self.bias).add_sum(slopes)
            return
        d_bias = tape.empty(self.bias.shape)
        kernels.column_sums(slopes, d_bias[0])
        kernels.copy(d_bias[0], d_bias[1])
        kernels.column_sums(flat(d_inner), d_bias[1, 2 * units :])
        tape.gradient(self.bias).add(d_bias)
