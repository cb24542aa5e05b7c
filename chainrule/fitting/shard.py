"""One shard's pass over its part of a batch: forward, loss, backward."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.fitting.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.fitting.cutting import Cutting, Place
    from chainrule.fitting.samples import Samples
    from chainrule.metrics import Tallies
    from chainrule.naming import Values
    from chainrule.network import Network
    from chainrule.tape import Array, Tape

__all__ = ["Shard"]


class Shard:
    """A tape, what it learns from, and the metrics of what it has learnt.

    ``tape.gradients`` holds the gradient of the last pass.
    """

    def __init__(
        self, net: Network, samples: Samples, cutting: Cutting, tallies: Tallies, tape: Tape
    ) -> None:
        self.tape = tape
        self.tallies = tallies
        self._net = net
        self._replay = Replay(net, tape)
        self._samples = samples
        self._cutting = cutting

    def learn(self, rows: Array | slice, place: Place, share: float = 1.0) -> float:
        """Return the loss of some rows, which are a share of the batch's, and of its loss.

        Where the loss is not finite, there is no gradient.
        """
        _, finish = self.start(rows, place)
        return finish([share] * len(self._net.output_shapes))

    def start(
        self, rows: Array | slice, place: Place
    ) -> tuple[Values, Callable[[Sequence[float]], float]]:
        """Run forward; return the outputs, and the rest of ``learn``, which takes their shares."""
        tape, objective = self.tape, self._samples.objective
        batch = self._cutting.batch(self._net, self._samples, rows, tape, place)
        y, backward = self._replay.forward(batch.x)

        def finish(shares: Sequence[float]) -> float:
            loss, dy = objective(
                y, batch.target, tape, weights=batch.weights, tallies=self.tallies, shares=shares
            )
            if math.isfinite(loss):
                backward(dy)
            return loss

        return y, finish
