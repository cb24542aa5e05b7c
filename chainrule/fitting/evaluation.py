"""The loss and the metrics of a network on some rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.fitting.samples import Samples
from chainrule.losses import LOSSES
from chainrule.metrics import Tally
from chainrule.tape import Array, Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.network import Network

__all__ = ["Evaluator", "TargetScale", "evaluate", "unit_of"]

# Mean and standard deviation, by column, that a target was standardised with.
TargetScale = tuple[Array, Array]


def evaluate(  # noqa: PLR0913
    net: Network,
    x: ArrayLike,
    y: ArrayLike,
    loss: str,
    batch_size: int = 256,
    *,
    target_scale: TargetScale | None = None,
) -> dict[str, float]:
    """Return {"loss": ..., and the loss's metrics} over all rows, in prediction mode.

    Raises: DataError, if the rows do not fit.
    """
    return Evaluator(net, Samples(net, loss, x, y), batch_size, unit_of(target_scale)).run()


class Evaluator:
    """The same rows, evaluated again and again in the same memory."""

    def __init__(
        self, net: Network, samples: Samples, batch_size: int, unit: Array | float
    ) -> None:
        self._net = net
        self._samples = samples
        self._batch_size = batch_size
        self._tally = Tally.of(samples.loss, net.output_shape, unit)
        self._tape = Tape(dtype=net.dtype)

    def run(self) -> dict[str, float]:
        """Return the loss and the metrics of the network as it is now."""
        self._tally.clear()
        with np.errstate(all="ignore"):
            for start in range(0, self._samples.rows, self._batch_size):
                self._add(slice(start, min(start + self._batch_size, self._samples.rows)))
            return self._tally.result()

    def _add(self, rows: slice) -> None:
        tape = self._tape
        tape.begin(rows.start)
        x, target = self._samples.batch(rows, tape)
        y, _ = self._net.forward(x, tape)
        work = tape.empty(y.shape)
        loss, _ = LOSSES[self._samples.loss](y, target, work)
        self._tally.add(loss, y, target, work)


def unit_of(target_scale: TargetScale | None) -> Array | float:
    """Return the size of a scaled target's 1: all that a metric of differences needs of a scale."""
    return 1.0 if target_scale is None else np.asarray(target_scale[1], np.float64)
