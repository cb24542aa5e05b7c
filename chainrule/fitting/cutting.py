"""A batch of sequences in windows: what each holds, and which states it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.fitting.pool import parts
from chainrule.fitting.samples import Batch
from chainrule.spec import windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chainrule.fitting.samples import Samples
    from chainrule.naming import Values
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec
    from chainrule.tape import Array, Tape

__all__ = ["Cutting", "Place"]

_CARRIED = "carried."


class Place(NamedTuple):
    """Where a run stands: the number of the step to come, its window, its place in the epoch.

    ``epoch`` counts those completed.
    """

    step: int
    window: int
    begins_epoch: bool
    epoch: int = 0


class Cutting:
    """Truncated backpropagation through time, and stateful layers, for the loop.

    ``carries`` tells whether there are either; without, a batch is learnt from as it comes.
    Raises: SpecError at ``bptt_steps`` or ``shuffle``.
    """

    def __init__(self, net: Network, training: TrainingSpec) -> None:
        self._cut = windows(net.spec, net.nodes, training)
        self._stateful = [n.index for n in net.nodes if getattr(n.spec, "stateful", False)]
        self.carries = self._cut.size is not None or bool(self._stateful)

    @property
    def updates(self) -> int:
        """How many steps of training a batch makes."""
        return self._cut.updates

    def batch(
        self, net: Network, samples: Samples, rows: Array | slice, tape: Tape, place: Place
    ) -> Batch:
        """Return the window of a batch that is learnt from next, in the tape's memory.

        The windows before it that are not learnt from are run first, for the states they end with.
        """
        if not self.carries:
            tape.begin(place.step)
            return samples.batch(rows, tape, place.epoch)
        first, leading = place.window == 0, 0 if self._cut.aligned else self._cut.parts - 1
        for number in range(leading + 1):
            tape.begin(place.step)
            if first and number == 0:
                self._begin_batch(tape, goes_on=not place.begins_epoch)
            batch = samples.batch(rows, tape, place.epoch)
            x = self._window(batch.x, place.window + number, tape)
            if number < leading:
                self._pass_by(net, x, tape)
        target, weights = batch.target, batch.weights
        if self._cut.aligned:
            target = self._window(target, place.window, tape)
            if weights is not None and weights.ndim > 1:  # of the steps, not of the rows
                weights = self._window(weights, place.window, tape)
        return Batch(x, target, weights)

    def carried(self, tapes: Sequence[Tape]) -> dict[str, Array]:
        """Return the states that the next window begins with, as a checkpoint keeps them."""
        return {f"{_CARRIED}{n}": state for n, state in _joined(tapes).items()}

    def restore(self, tapes: Sequence[Tape], kept: Mapping[str, Array]) -> None:
        """Take up the states that a checkpoint kept."""
        states = {int(n.removeprefix(_CARRIED)): kept[n] for n in kept if _CARRIED in n}
        rows = len(next(iter(states.values()), ()))
        if self.carries:
            _deal(states, tapes, parts(rows, len(tapes)))

    def deal(self, tapes: Sequence[Tape], cut: Sequence[slice], place: Place) -> None:
        """Give each shard of a new batch the states of its rows: a smaller batch is cut anew."""
        if self.carries and place.window == 0:
            _deal(_joined(tapes), tapes, cut)

    def _pass_by(self, net: Network, x: Values, tape: Tape) -> None:
        """Run a window for the states that its layers end with; all others keep those they had."""
        before = dict(tape.carried or {})
        net.forward(x, tape)
        after, through = tape.carried or {}, self._cut.through
        tape.carried = {
            **{number: state for number, state in before.items() if number not in through},
            **{number: state for number, state in after.items() if number in through},
        }

    def _begin_batch(self, tape: Tape, *, goes_on: bool) -> None:
        """Forget the states of the batch before, but for those of stateful layers."""
        before = (tape.carried or {}) if goes_on else {}
        tape.carried = {n: state for n, state in before.items() if n in self._stateful}

    def _window(self, values: Values, number: int, tape: Tape) -> Values:
        """Return a window's part of a batch."""
        size = self._cut.size
        if size is None:
            return values
        parts = {}
        for name, whole in values.items() if isinstance(values, dict) else [("", values)]:
            view = whole[:, number * size : (number + 1) * size]
            tape.window = view.shape[1]
            parts[name] = tape.empty(view.shape, view.dtype)
            np.copyto(parts[name], view)
        return parts if isinstance(values, dict) else parts[""]


def _joined(tapes: Sequence[Tape]) -> dict[int, Array]:
    """Return a copy of the states of a batch, those of all shards that have any."""
    carried = [tape.carried for tape in tapes if tape.carried]
    return {n: np.concatenate([states[n] for states in carried]) for n in (carried or [{}])[0]}


def _deal(states: dict[int, Array], tapes: Sequence[Tape], cut: Sequence[slice]) -> None:
    for tape in tapes:
        tape.carried = {}
    for tape, rows in zip(tapes, cut, strict=False):
        tape.carried = {n: state[rows] for n, state in states.items()}
