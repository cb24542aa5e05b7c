"""From the gradient of a batch to the next weights, in one place and one order.

Batches are gathered into the mean gradient of their group; the penalties are added; the gradient is
clipped; the optimizer takes its step, with its weight decay; the kernels' norms are bounded; the
average of the weights follows.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import kernels
from chainrule.fitting.pool import spans
from chainrule.optimizers import Slots, optimizer_of
from chainrule.tape import Array, aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chainrule.fitting.pool import ThreadPool
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec
    from chainrule.spec.training import ClipSpec

__all__ = ["Update", "kept_vectors"]

_Part = tuple[Array, Array, Slots]  # of the weights, the gradient and the optimizer's slots
_KERNELS = ("kernel", "embeddings")  # how the names end of what penalties and bounds apply to


def kept_vectors(training: TrainingSpec) -> int:
    """Return how many vectors of the parameters' size a run keeps besides them and the gradient."""
    stopping = training.early_stopping
    options = (
        training.gradient_accumulation_steps > 1,
        training.ema_momentum is not None,
        stopping is not None and stopping.restore_best,
    )
    return len(optimizer_of(training.optimizer).slots) + sum(options)


class Update:
    """The rule that moves a network's weights, and the vectors that it keeps.

    ``slots`` are the optimizer's; ``vectors`` the sum of a group's gradients and the average of the
    weights, where the training has them.
    """

    def __init__(self, net: Network, training: TrainingSpec, batches: int) -> None:
        self._net = net
        self._training = training
        self._batches = batches  # of an epoch
        self._group = training.gradient_accumulation_steps
        self._per_epoch = -(-batches // self._group)
        self.updates = training.epochs * self._per_epoch
        self._optimizer = optimizer_of(training.optimizer)
        self.slots = {name: self._vector() for name in self._optimizer.slots}
        for slot in self.slots.values():
            slot.fill(self._optimizer.initial_slot)
        self.vectors: dict[str, Array] = {}
        if self._group > 1:
            self.vectors["gathered"] = self._vector()
        if training.ema_momentum is not None:
            self.vectors["average"] = self._vector()
            np.copyto(self.vectors["average"], net.flat)
        self._cut: tuple[Array, list[_Part]] | None = None
        self._spans = _spans(net)
        chosen = [name for name in net.parameters if name.endswith(_KERNELS)]
        self._penalized = [self._spans[n] for n in chosen] if training.l1 or training.l2 else []
        self._bounded = [net.parameters[n] for n in chosen] if training.max_norm else []

    def number(self, batch: int) -> int:
        """Return the number of the update, from 1, that a batch, numbered from 1, goes into."""
        if self._group == 1:
            return batch
        epoch, within = divmod(batch - 1, self._batches)
        return epoch * self._per_epoch + within // self._group + 1

    def learn(self, gradients: Array, batch: int, learning_rate: float, pool: ThreadPool) -> None:
        """Take a batch's gradient, which may be written to, and move the weights if it is time."""
        if self._group > 1 and not self._gather(gradients, batch):
            return
        training, weights = self._training, self._net.flat
        for span in self._penalized:
            kernels.add_penalty(weights[span], gradients[span], training.l1, training.l2)
        if training.clip is not None:
            _clip(gradients, self._spans, training.clip)
        number = self.number(batch)
        cut = self._parts(gradients, pool.threads)
        pool.run([partial(self._optimizer.step, *of, learning_rate, number) for of in cut])
        if training.max_norm is not None:
            for kernel in self._bounded:
                _bound(kernel, training.max_norm)
        if training.ema_momentum is not None:  # after the first update, the weights themselves
            momentum = training.ema_momentum if number > 1 else 0.0
            kernels.average(self.vectors["average"], weights, momentum)

    @property
    def judged(self) -> Array:
        """The weights that are evaluated and kept: the average, if there is one."""
        return self.vectors.get("average", self._net.flat)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lend the network the average of its weights, if there is one."""
        average = self.vectors.get("average")
        if average is None:
            yield
            return
        kernels.swap(self._net.flat, average)
        try:
            yield
        finally:
            kernels.swap(self._net.flat, average)

    def _parts(self, gradients: Array, threads: int) -> list[_Part]:
        """Return each thread's part of the weights, of their gradient and slots: the same ones."""
        cut = self._cut
        if cut is None or cut[0] is not gradients:
            weights = self._net.flat
            parts: list[_Part] = [
                (weights[s], gradients[s], {name: slot[s] for name, slot in self.slots.items()})
                for s in spans(weights.size, threads)
            ]
            self._cut = cut = gradients, parts
        return cut[1]

    def _gather(self, gradients: Array, batch: int) -> bool:
        """Add a batch to its group; at the group's end write the mean to ``gradients``."""
        gathered = self.vectors["gathered"]
        within = (batch - 1) % self._batches
        before = within % self._group
        if before:
            gathered += gradients
        else:
            np.copyto(gathered, gradients)
        if before + 1 < self._group and within + 1 < self._batches:
            return False
        np.multiply(gathered, 1.0 / (before + 1), out=gradients)
        return True

    def _vector(self) -> Array:
        return aligned(self._net.flat.size, self._net.dtype)


def _spans(net: Network) -> dict[str, slice]:
    """Return where each tensor lies in the flat vectors: back to back, in the names' order."""
    spans, start = {}, 0
    for name, parameter in net.parameters.items():
        spans[name] = slice(start, start + parameter.size)
        start += parameter.size
    return spans


def _clip(gradients: Array, spans: dict[str, slice], clip: ClipSpec) -> None:
    """Bound a gradient as keras.optimizers does by clipvalue, clipnorm and global_clipnorm."""
    if clip.value is not None:
        np.clip(gradients, -clip.value, clip.value, out=gradients)
    elif clip.norm is not None:
        for span in spans.values():
            _shrink(gradients[span], clip.norm)
    elif clip.global_norm is not None:
        _shrink(gradients, clip.global_norm)


def _shrink(vector: Array, most: float) -> None:
    norm = kernels.norm(vector)
    if norm > most:
        vector *= most / norm


def _bound(kernel: Array, most: float) -> None:
    """Bound the norm of the weights into each unit: over all axes but the last.

    Source: keras.constraints.MaxNorm, without the epsilon that shrinks what is within the bound.
    """
    columns = kernel.reshape(-1, kernel.shape[-1])
    norms: Any = np.einsum("ij,ij->j", columns, columns)
    np.sqrt(norms, out=norms)
    np.maximum(norms, most, out=norms)
    columns *= most / norms
