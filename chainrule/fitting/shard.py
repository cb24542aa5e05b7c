"""One shard's pass over its part of a batch: forward, loss, backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.fitting.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.fitting.cutting import Cutting, Place
    from chainrule.fitting.samples import Batch, Samples
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
        self._samples = samples
        self._cutting = cutting
        kept = [net.flat, net.state, *samples.arrays]
        self._replay = Replay(self._learn, tape, kept, tallies.sums)

    def learn(self, rows: Array, place: Place, share: float = 1.0) -> float:
        """Return the loss of some rows, which are a share of the batch's, and of its loss.

        Shapes: rows (n,) of intp.
        """
        if self._cutting.carries or self._samples.augmentation is not None:
            _, finish = self.start(rows, place)
            return finish([share] * len(self._net.output_shapes))
        self.tape.begin(place.step)
        return float(self._replay.learn(rows, share))

    def start(self, rows: Array, place: Place) -> tuple[Values, Callable[[Sequence[float]], float]]:
        """Run forward; return the outputs, and the rest of ``learn``, which takes their shares."""
        batch = self._cutting.batch(self._net, self._samples, rows, self.tape, place)
        y, finish = self._forward(batch)
        return y, lambda shares: float(finish(shares))

    def release(self) -> None:
        """Give the scratch memory back."""
        self._replay.release()
        self.tape.release()

    def _learn(self, rows: Array, share: float) -> Array:
        _, finish = self._forward(self._samples.batch(rows, self.tape))
        return finish([share] * len(self._net.output_shapes))

    def _forward(self, batch: Batch) -> tuple[Values, Callable[[Sequence[float]], Array]]:
        tape, objective = self.tape, self._samples.objective
        y, backward = self._net.forward(batch.x, tape)

        def finish(shares: Sequence[float]) -> Array:
            loss, dy = objective(
                y, batch.target, tape, weights=batch.weights, tallies=self.tallies, shares=shares
            )
            backward(dy)
            return loss

        return y, finish
