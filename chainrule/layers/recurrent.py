"""What recurrent layers share: all steps' inputs at once, masks, dropout and carried states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import kernels
from chainrule.layers.base import Layer, Parameters, check_shape
from chainrule.layers.dropout import draw_kept

if TYPE_CHECKING:
    from chainrule.spec.layers import RecurrentBase
    from chainrule.tape import Array, Backward, Tape

__all__ = ["Recurrent", "Run", "flat"]

_PANEL = 31  # columns that fill up a last panel of the recurrent kernel


@dataclass(frozen=True)
class Run:
    """One batch of sequences on its way through a recurrent layer, time first.

    ``z`` is the inputs' share of what goes into the gates; ``states[:, t]`` is what step t starts
    from, the output first. ``kept`` is the recurrent dropout, ``seen`` what it leaves of each
    state. ``padded`` tells the steps that change nothing, ``shown`` those whose output is not
    zero whatever the state. All but the first two are None where there is no such thing.
    ``panels`` is scratch memory for the recurrent kernel.
    Shapes: z (steps, batch, gates), states (n, steps + 1, batch, units), kept (batch, units), seen
    (steps, batch, units), padded and shown (steps, batch, 1).
    """

    z: Array
    states: Array
    kept: Array | None
    seen: Array | None
    padded: Array | None
    shown: Array | None
    panels: Array

    @property
    def h(self) -> Array:
        """The outputs, that before the first step first.  Shapes: (steps + 1, batch, units)."""
        outputs: Array = self.states[0]
        return outputs

    @property
    def before(self) -> Array:
        """The outputs before each step, as the recurrent kernel sees them."""
        return self.h[:-1] if self.seen is None else self.seen

    def back(self, dy: Array, tape: Tape) -> tuple[Array, Array, Array, Array, Array]:
        """Return what the kernels that run back take last: dy, d, dz, work and the panels.

        Shapes: dy (batch, steps, units) or (batch, units), of the last step alone.
        """
        states, shape = len(self.states), self.h.shape[1:]
        return (
            dy if dy.ndim == 2 else dy.transpose(1, 0, 2),
            tape.empty((states, *shape) if states > 1 else shape),
            tape.empty(self.z.shape),
            tape.empty(shape),
            self.panels,
        )


@dataclass(frozen=True)
class Recurrent(ABC):
    """A function of a step's inputs and of the state that the step before left.

    ``carries``: the number under which the state is carried from window to window, None if it is
    not. ``stream``: which of a step's random streams is its own. ``zeros``: whether padded steps
    put out zeros, rather than the output before.
    Shapes: x (batch, steps, inputs), kernel (inputs, gates), recurrent_kernel (units, gates), bias
    (gates,) -> y (batch, units), or (batch, steps, units) of all steps.
    Raises: ShapeError, if x is not (batch, steps, inputs).
    """

    spec: RecurrentBase
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None
    carries: int | None
    stream: int
    zeros: bool = False

    @abstractmethod
    def run(self, run: Run, tape: Tape) -> Backward:
        """Take a batch through all steps, and return what takes the gradient in y to that in z.

        The way back adds to the gradients of the recurrent kernel and the bias.
        """

    @classmethod
    def build(cls, spec: RecurrentBase, number: int, parameters: Parameters) -> Layer:
        carries = number if spec.any_length else None
        return cls.of(spec, parameters, carries=carries, stream=number)

    @classmethod
    def of(
        cls,
        spec: RecurrentBase,
        parameters: Parameters,
        *,
        carries: int | None,
        stream: int,
        zeros: bool = False,
    ) -> Recurrent:
        """Make the layer over its views."""
        kernel, recurrent = parameters["kernel"], parameters["recurrent_kernel"]
        return cls(spec, kernel, recurrent, parameters.get("bias"), carries, stream, zeros)

    def forward(self, x: Array, tape: Tape) -> tuple[Array, Backward]:
        n_in, n_gates = self.kernel.shape
        check_shape(x, ("batch", "steps", n_in), owner=type(self).__name__)
        rows, steps, _ = x.shape
        kept_inputs, kept = self._kept(rows, tape)
        xs = self._time_first(x, kept_inputs, tape)
        z = tape.empty((steps * rows, n_gates))
        kernels.matmul(xs, self.kernel, z)
        states = self._states(rows, steps, tape)
        run = Run(
            z.reshape(steps, rows, n_gates),
            states,
            kept,
            None if kept is None else tape.empty((steps, *kept.shape)),
            *self._masks(tape),
            tape.empty((n_gates, len(self.recurrent_kernel) + _PANEL)),
        )
        back = self.run(run, tape)
        self._carry(states, tape)
        y = self._output(run, tape)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = back(dy).reshape(z.shape)
            tape.gradient(self.kernel).add_matmul(xs.T, dz)
            if not wants_dx:
                return dy
            flat = tape.empty(xs.shape)
            kernels.matmul(dz, self.kernel.T, flat)
            dxs = flat.reshape(steps, rows, n_in)
            if kept_inputs is not None:
                kernels.multiply(dxs, kept_inputs, dxs)
            dx = tape.empty(x.shape)
            kernels.copy(dxs.transpose(1, 0, 2), self._in_order(dx))
            return dx

        return y, backward

    def add_gradients(self, run: Run, dz: Array, tape: Tape) -> Array:
        """Add to the gradients of the recurrent kernel and the bias; return dz."""
        slopes = flat(dz)
        tape.gradient(self.recurrent_kernel).add_matmul(flat(run.before).T, slopes)
        if self.bias is not None:
            tape.gradient(self.bias).add_sum(slopes)
        return dz

    def before_gates(self, z: Array, tape: Tape) -> Array:
        """Return where the gates go: z's own memory, unless a slope needs what went in."""
        return tape.empty(z.shape) if self.spec.keeps_input else z

    def _in_order(self, x: Array) -> Array:
        """Return a view of what has steps on its second axis, in the order in which they run."""
        return x[:, ::-1] if self.spec.go_backwards else x

    def _kept(self, rows: int, tape: Tape) -> tuple[Array | None, Array | None]:
        """Draw what dropout keeps of the inputs and of the state, the same at all steps."""
        of_inputs, of_states = self.spec.dropout, self.spec.recurrent_dropout
        if not tape.training or not (of_inputs or of_states):
            return None, None
        rng = tape.random(self.stream)
        shapes = (rows, self.kernel.shape[0]), (rows, self.recurrent_kernel.shape[0])
        inputs = draw_kept(shapes[0], of_inputs, rng, tape) if of_inputs else None
        return inputs, draw_kept(shapes[1], of_states, rng, tape) if of_states else None

    def _time_first(self, x: Array, kept: Array | None, tape: Tape) -> Array:
        """Return the inputs of each step after the other.  Shapes: (steps * batch, inputs)."""
        rows, steps, n_in = x.shape
        xs = tape.empty((steps, rows, n_in))
        kernels.copy(self._in_order(x).transpose(1, 0, 2), xs)
        if kept is not None:
            kernels.multiply(xs, kept, xs)
        return xs.reshape(-1, n_in)

    def _states(self, rows: int, steps: int, tape: Tape) -> Array:
        """Return memory for the states, the first in place: zero, or what was carried over."""
        states = tape.empty((self.spec.states, steps + 1, rows, self.recurrent_kernel.shape[0]))
        first = states[:, 0]
        kernels.fill(first, 0.0)
        carried = self._carried(tape)
        if carried is not None:  # of a batch that may have had more rows, or fewer
            side_by_side = carried[:rows].reshape(-1, len(states), first.shape[2])
            first[:, : len(side_by_side)] = side_by_side.transpose(1, 0, 2)
        return states

    def _carried(self, tape: Tape) -> Array | None:
        if self.carries is None or tape.carried is None:
            return None
        return tape.carried.get(self.carries)

    def _carry(self, states: Array, tape: Tape) -> None:
        """Leave a copy of the last states, side by side, for the next window."""
        if self.carries is not None and tape.carried is not None:
            rows = states.shape[2]
            tape.carried[self.carries] = states[:, -1].transpose(1, 0, 2).reshape(rows, -1).copy()

    def _masks(self, tape: Tape) -> tuple[Array | None, Array | None]:
        """Return the run's ``padded`` and ``shown``, and turn the mask as the output is turned."""
        if tape.mask is None:
            return None, None
        tape.mask = valid = self._in_order(tape.mask)
        shape = (*valid.shape[::-1], 1)
        padded = np.logical_not(valid.T[..., None], out=tape.empty(shape, bool))
        if not self.zeros and self._carried(tape) is None:
            return padded, None  # a state that starts at zero puts out zeros by itself
        shown = np.logical_not(padded, out=tape.empty(shape, bool))
        if not self.zeros:
            np.logical_or.accumulate(shown, axis=0, out=shown)  # from the first step that counts
        return padded, shown

    def _output(self, run: Run, tape: Tape) -> Array:
        if self.spec.return_sequences:
            steps, rows, units = run.h[1:].shape
            every = tape.empty((rows, steps, units))
            kernels.copy(run.h[1:].transpose(1, 0, 2), every)
            if run.shown is not None:
                every *= run.shown.transpose(1, 0, 2)
            return every
        last: Array = run.h[-1]
        if run.shown is not None:
            last = np.multiply(last, run.shown[-1], out=tape.empty(last.shape))
        return last


def flat(steps: Array) -> Array:
    """Return all steps below each other.  Shapes: (steps, batch, n) -> (steps * batch, n)."""
    return steps.reshape(-1, steps.shape[2])
