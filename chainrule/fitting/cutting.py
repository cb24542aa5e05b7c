"""A batch of sequences in windows: what each holds, and which states it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SpecError
from chainrule.spec import windows

if TYPE_CHECKING:

    from chainrule.graph import Values
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec
    from chainrule.tape import Tape

__all__ = ["Cutting"]


class Cutting:
    """Truncated backpropagation through time, and stateful layers, for the loop.

    Raises: SpecError at ``bptt_steps`` or ``shuffle``.
    """

    def __init__(self, net: Network, training: TrainingSpec) -> None:
        outputs = [*net.output_shapes]
        self._cut = windows(net.nodes, net.input_shapes, outputs, training.bptt_steps)
        self._stateful = [n.index for n in net.nodes if getattr(n.spec, "stateful", False)]
        if self._stateful and training.shuffle:
            place = f"layers[{self._stateful[0]}]"
            detail = f"must be false: {place} is stateful, each batch goes on where the last ended"
            raise SpecError.at("shuffle", detail)

    @property
    def updates(self) -> int:
        """How many steps of training a batch makes."""
        return self._cut.updates

    @property
    def leading(self) -> int:
        """How many windows of a batch are run forward only, before the one that is learnt from."""
        return 0 if self._cut.aligned else self._cut.parts - 1

    def begin(self, tape: Tape, window: int, *, first_batch: bool) -> None:
        """Give the layers the states that a window begins with; number 0 begins a batch."""
        if not window:
            carries = self._cut.size is not None or bool(self._stateful)
            before = {} if first_batch else tape.carried or {}
            kept = {n: state for n, state in before.items() if n in self._stateful}
            tape.carried = kept if carries else None

    def window(
        self, values: Values, number: int, tape: Tape, *, of_outputs: bool = False
    ) -> Values:
        """Return a window's part of a batch of inputs or targets, in the tape's memory."""
        size = self._cut.size
        if size is None or (of_outputs and not self._cut.aligned):
            return values
        first = number * size
        parts: dict[str, Any] = {}
        for name, whole in values.items() if isinstance(values, dict) else [("", values)]:
            view = whole[:, first : first + size]
            tape.window = view.shape[1]
            parts[name] = tape.empty(view.shape, view.dtype)
            np.copyto(parts[name], view)
        return parts if isinstance(values, dict) else parts[""]
