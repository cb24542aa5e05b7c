"""The loss and the metrics of a network on some rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from chainrule.fitting.samples import Samples
from chainrule.losses import Objective
from chainrule.network import checked_batch_size
from chainrule.tape import Array, Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.naming import Values
    from chainrule.network import Network

__all__ = ["Evaluator", "TargetScale", "evaluate", "unit_of"]

# Mean and standard deviation, by column, that a target was standardised with; None: it was not.
# Of several outputs {output: scale}.
TargetScale = tuple[Array, Array] | Mapping[str, tuple[Array, Array] | None]


def evaluate(  # noqa: PLR0913
    net: Network,
    x: ArrayLike | Mapping[str, ArrayLike],
    y: ArrayLike | Mapping[str, ArrayLike],
    loss: object,
    batch_size: int = 256,
    *,
    sample_weight: ArrayLike | None = None,
    target_scale: TargetScale | None = None,
) -> dict[str, float]:
    """Return {"loss": ..., and the loss's metrics} over all rows, in prediction mode.

    ``loss`` is a name, a document or an Objective; of several outputs a mapping with one for each.
    Raises: DataError, if the rows do not fit; SpecError, if the loss is none, or the batch size no
    whole number from 1.
    """
    size = checked_batch_size(batch_size)
    objective = loss if isinstance(loss, Objective) else Objective(net.output_shapes, loss)
    samples = Samples(net, objective, x, y, sample_weight)
    return Evaluator(net, samples, size, unit_of(target_scale)).run()


class Evaluator:
    """The same rows, evaluated again and again in the same memory."""

    def __init__(self, net: Network, samples: Samples, batch_size: int, unit: Values) -> None:
        self._net = net
        self._samples = samples
        self._batch_size = batch_size
        self._tallies = samples.objective.tallies(unit)
        self._tape = Tape(dtype=net.dtype)

    def run(self) -> dict[str, float]:
        """Return the loss and the metrics of the network as it is now."""
        self._tallies.clear()
        with np.errstate(all="ignore"):
            for start in range(0, self._samples.rows, self._batch_size):
                self._add(slice(start, min(start + self._batch_size, self._samples.rows)))
            return self._tallies.result()

    def _add(self, rows: slice) -> None:
        tape = self._tape
        tape.begin(rows.start)
        batch = self._samples.batch(rows, tape)
        y, _ = self._net.forward(batch.x, tape)
        self._samples.objective(y, batch.target, tape, weights=batch.weights, tallies=self._tallies)


def unit_of(target_scale: TargetScale | None) -> Values:
    """Return the size of a scaled target's 1: all that a metric of differences needs of a scale.

    Of several outputs {output: size}.
    """
    if isinstance(target_scale, Mapping):
        return {output: unit_of(scale) for output, scale in target_scale.items()}
    return 1.0 if target_scale is None else np.asarray(target_scale[1], np.float64)
