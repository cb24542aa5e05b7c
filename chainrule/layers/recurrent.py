"""What recurrent layers share: all steps' inputs at once, the loop over time, and its way back."""

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

__all__ = ["Recurrent", "Run"]


class Run(ABC):
    """One batch of sequences on its way through a recurrent layer, time first.

    ``z`` is the inputs' share of what goes into the gates, to which each step adds the state's;
    ``states[:, t]`` is what step t starts from, the output first. ``kept`` is the recurrent
    dropout. ``padded`` tells the steps that change nothing, ``shown`` those whose output is not
    zero whatever the state; None where there are no such steps.
    Shapes: z (steps, batch, gates), states (n, steps + 1, batch, units), kept (batch, units),
    padded and shown (steps, batch, 1).
    """

    def __init__(self, layer: Recurrent, z: Array, states: Array, kept: Array | None, tape: Tape):
        self.layer, self.tape = layer, tape
        self.z, self.states, self.kept = z, states, kept
        self.padded: Array | None = None
        self.shown: Array | None = None
        self.h: Array = states[0]
        self.shape = self.h.shape[1:]
        self._seen: Array = self.h[:-1] if kept is None else tape.empty((len(z), *self.shape))

    @abstractmethod
    def step(self, t: int) -> None:
        """Write ``states[:, t + 1]``."""

    @abstractmethod
    def step_back(self, t: int, d: Array, dz: Array) -> None:
        """Write the gradient in z at a step; take that in the states after it to before, in place.

        Shapes: d (n, batch, units), dz (batch, gates).
        """

    def end_backward(self, dz: Array) -> None:
        """Add to the gradients of the recurrent kernel and the bias.

        Shapes: dz (steps * batch, gates).
        """
        layer, tape = self.layer, self.tape
        tape.gradient(layer.recurrent_kernel).add_matmul(self.all_seen.T, dz)
        if layer.bias is not None:
            tape.gradient(layer.bias).add_sum(dz)

    def forward(self) -> None:
        """Run through all steps."""
        states, padded = self.states, self.padded
        for t in range(len(self.z)):
            self.step(t)
            if padded is not None:
                np.copyto(states[:, t + 1], states[:, t], where=padded[t])

    def backward(self, dy: Array) -> Array:
        """Return the gradient in z, from that in each step's output or in the last one's.

        Shapes: dy (batch, steps, units) or (batch, units) -> (steps * batch, gates).
        """
        shown, padded = self.shown, self.padded
        d = self.tape.empty((len(self.states), *self.shape))
        d.fill(0.0)
        passing = None if padded is None else self.tape.empty(d.shape)
        if dy.ndim == 2:
            d[0] = dy
        dz = self.tape.empty(self.z.shape)
        self.work = self.tape.empty(self.shape)
        kernel = self.layer.recurrent_kernel.T
        self.back_kernel = self.tape.empty(kernel.shape)  # used at each step: in its own order then
        np.copyto(self.back_kernel, kernel)
        for t in range(len(self.z) - 1, -1, -1):
            if dy.ndim == 3:
                np.add(d[0], dy[:, t], out=d[0], where=True if shown is None else shown[t])
            if padded is None or passing is None:
                self.step_back(t, d, dz[t])
                continue
            np.multiply(d, padded[t], out=passing)  # runs by the step untouched
            np.copyto(d, 0.0, where=padded[t])
            self.step_back(t, d, dz[t])
            d += passing
        flat = dz.reshape(-1, dz.shape[2])
        self.end_backward(flat)
        return flat

    def seen(self, t: int) -> Array:
        """Return the output before a step, as the recurrent kernel sees it."""
        seen: Array = self._seen[t]
        if self.kept is not None:
            np.multiply(self.h[t], self.kept, out=seen)
        return seen

    @property
    def all_seen(self) -> Array:
        """What ``seen`` returned at all steps.  Shapes: (steps * batch, units)."""
        return self._seen.reshape(-1, self.shape[1])

    def back_to_seen(self, dz: Array, out: Array) -> None:
        """Write the gradient in the output before a step that runs through the recurrent kernel."""
        np.matmul(dz, self.back_kernel, out=out)
        if self.kept is not None:
            out *= self.kept

    def before_gates(self) -> Array:
        """Return where the gates go: z's own memory, unless a slope needs what went in."""
        return self.tape.empty(self.z.shape) if self.layer.spec.keeps_input else self.z


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

    @property
    @abstractmethod
    def run(self) -> type[Run]:
        """What takes a batch through it."""

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
        kept_inputs, kept_states = self._kept(rows, tape)
        xs = self._time_first(x, kept_inputs, tape)
        z = np.matmul(xs, self.kernel, out=tape.empty((steps * rows, n_gates)))
        if self.bias is not None:
            bias = self.bias if self.bias.ndim == 1 else self.bias[0]
            kernels.bias_activation(z, bias, "linear", z)
        states = self._states(rows, steps, tape)
        run = self.run(self, z.reshape(steps, rows, n_gates), states, kept_states, tape)
        run.padded, run.shown = self._masks(tape)
        run.forward()
        self._carry(states, tape)
        y = self._output(run, tape)
        wants_dx = tape.wants_dx

        def backward(dy: Array) -> Array:
            dz = run.backward(dy)
            tape.gradient(self.kernel).add_matmul(xs.T, dz)
            if not wants_dx:
                return dy
            dxs = np.matmul(dz, self.kernel.T, out=tape.empty(xs.shape)).reshape(steps, rows, n_in)
            if kept_inputs is not None:
                dxs *= kept_inputs
            dx = tape.empty(x.shape)
            np.copyto(self._in_order(dx), dxs.transpose(1, 0, 2))
            return dx

        return y, backward

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
        np.copyto(xs, self._in_order(x).transpose(1, 0, 2))
        if kept is not None:
            xs *= kept
        return xs.reshape(-1, n_in)

    def _states(self, rows: int, steps: int, tape: Tape) -> Array:
        """Return memory for the states, the first in place: zero, or what was carried over."""
        states = tape.empty((self.spec.states, steps + 1, rows, self.recurrent_kernel.shape[0]))
        first = states[:, 0]
        first.fill(0.0)
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
            np.copyto(every, run.h[1:].transpose(1, 0, 2))
            if run.shown is not None:
                every *= run.shown.transpose(1, 0, 2)
            return every
        last: Array = run.h[-1]
        if run.shown is not None:
            last = np.multiply(last, run.shown[-1], out=tape.empty(last.shape))
        return last
