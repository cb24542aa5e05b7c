"""One shard's pass over its part of a batch: forward, loss, backward."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from chainrule.fitting.replay import Replay

if TYPE_CHECKING:
    from chainrule.fitting.cutting import Cutting, Place
    from chainrule.fitting.samples import Samples
    from chainrule.metrics import Tallies
    from chainrule.network import Network
    from chainrule.tape import Array

__all__ = ["Shard"]


class Shard:
    """A tape, what it learns from, and the metrics of what it has learnt.

    ``tape.gradients`` holds the gradient of the last pass.
    """

    def __init__(
        self, net: Network, samples: Samples, cutting: Cutting, tallies: Tallies, seed: int
    ) -> None:
        self.tape = net.tape(training=True, seed=seed)
        self.tallies = tallies
        self._net = net
        self._replay = Replay(net, self.tape)
        self._samples = samples
        self._cutting = cutting

    def learn(self, rows: Array | slice, place: Place) -> float:
        """Return the loss of some rows; where it is not finite, there is no gradient."""
        tape = self.tape
        with np.errstate(all="ignore"):  # overflow shows in the loss, which is looked at
            batch = self._cutting.batch(self._net, self._samples, rows, tape, place)
            y, backward = self._replay.forward(batch.x)
            loss, dy = self._samples.objective(
                y, batch.target, tape, weights=batch.weights, tallies=self.tallies
            )
            if math.isfinite(loss):
                backward(dy)
        return loss
