"""A batch in shards: contiguous parts, each learnt on its own tape, and summed in their order.

The parts, the sums and their order follow from the number of shards alone. Which thread does what
is left to chance, and changes no bit.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from chainrule.fitting.pool import ThreadPool, parts, spans
from chainrule.fitting.shard import Shard
from chainrule.spec import makes_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.fitting.cutting import Cutting, Place
    from chainrule.fitting.samples import Samples
    from chainrule.naming import Values
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec
    from chainrule.tape import Array, Tape

__all__ = ["Shards", "pays"]

_WORTH = 50e6  # operations of a step: below, a thread takes longer to wake than to help
_ALONE = ThreadPool(1)


def pays(net: Network, batch_size: int) -> bool:
    """Tell whether a step is long enough for a second thread to help."""
    operations = sum(node.spec.flops(*node.input_shapes) for node in net.nodes)
    return 3 * operations * batch_size >= _WORTH  # back takes two forth


class Shards:
    """The shards of every batch; of a batch with fewer rows than shards, the last have none.

    Where a step is short, one thread does it all.
    The gradient, the moving averages and the metrics of a whole batch are where the first shard has
    its own.
    """

    def __init__(
        self,
        net: Network,
        samples: Samples,
        cutting: Cutting,
        training: TrainingSpec,
        unit: Values,
    ) -> None:
        most = min(training.shards, training.batch_size, samples.rows)
        self.tapes: list[Tape] = [
            net.tape(training=True, seed=training.seed, shard=number) for number in range(most)
        ]
        self._shards = [
            Shard(net, samples, cutting, samples.objective.tallies(unit), tape)
            for tape in self.tapes
        ]
        self.tallies = self._shards[0].tallies
        self.gradients = self.tapes[0].gradients
        self._objective = samples.objective
        self._cutting = cutting
        self._pays = pays(net, training.batch_size)
        self._masks = any(makes_mask(node) for node in net.nodes)

    def learn(self, rows: Array, place: Place, pool: ThreadPool) -> float:
        """Return the loss of a batch; ``gradients`` then holds its gradient, if it is finite."""
        if len(self._shards) == 1:
            return self._shards[0].learn(rows, place)
        pool = pool if self._pays else _ALONE
        total = len(rows)
        cut = parts(total, len(self._shards))
        self._cutting.deal(self.tapes, cut, place)
        shares = [(part.stop - part.start) / total for part in cut]
        of_each = [rows[part] for part in cut]
        loss = sum(self._learn(of_each, shares, place, pool))
        if math.isfinite(loss):
            self._sum(shares, pool)
        return loss

    def apply_moves(self) -> None:
        """Move the moving averages."""
        self.tapes[0].apply_moves()

    def release(self) -> None:
        """Give the scratch memory back."""
        for shard in self._shards:
            shard.release()

    def _learn(
        self, rows: list[Array], shares: list[float], place: Place, pool: ThreadPool
    ) -> list[float]:
        """Return each shard's part of the loss; what masks leave out, only the outputs tell."""
        if not self._masks:
            works = zip(self._shards, rows, shares, strict=False)
            return pool.run([partial(one.learn, part, place, share) for one, part, share in works])
        pairs = zip(self._shards, rows, strict=False)
        begun = pool.run([partial(shard.start, part, place) for shard, part in pairs])
        counts = np.array(
            [
                self._objective.positions(y, tape)
                for (y, _), tape in zip(begun, self.tapes, strict=False)
            ]
        )
        of_each = (counts / np.maximum(counts.sum(axis=0), 1)).tolist()
        return pool.run([partial(rest, own) for (_, rest), own in zip(begun, of_each, strict=True)])

    def _sum(self, shares: list[float], pool: ThreadPool) -> None:
        """Add the shards' gradients, metrics and moments to the first one's, in their order."""
        taken = len(shares)
        vectors = [tape.gradients for tape in self.tapes[:taken]]
        cut = spans(self.gradients.size, pool.threads)
        pool.run([partial(_add, [vector[span] for vector in vectors]) for span in cut])
        for shard in self._shards[1:taken]:
            self.tallies.sums += shard.tallies.sums
            shard.tallies.clear()
        for moves in zip(*(tape.moves for tape in self.tapes[:taken]), strict=True):
            _average([move.value for move in moves], shares)


def _add(vectors: list[Array]) -> None:
    """Add all to the first."""
    for vector in vectors[1:]:
        vectors[0] += vector


def _average(values: Sequence[Array], shares: Sequence[float]) -> None:
    """Write the mean by shares to the first."""
    np.multiply(values[0], shares[0], out=values[0])
    for value, share in zip(values[1:], shares[1:], strict=True):
        values[0][...] += share * value
