"""The training loop: steps as a generator of reports, to be left and taken up between any two."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.checkpoint import Checkpoint
from chainrule.errors import CheckpointError, DataError, DivergedError
from chainrule.fitting.augmentation import Augmentation
from chainrule.fitting.cutting import Cutting, Place
from chainrule.fitting.evaluation import Evaluator, TargetScale, unit_of
from chainrule.fitting.pool import ThreadPool
from chainrule.fitting.reports import EpochReport, StepReport
from chainrule.fitting.samples import Rows, Samples, check_parts
from chainrule.fitting.sharding import Shards
from chainrule.fitting.stopping import Plateau, Stopping, judged
from chainrule.fitting.update import Update
from chainrule.losses import Objective
from chainrule.network import EVALUATION_ROWS
from chainrule.schedules import schedule_of
from chainrule.spec import TrainingSpec, parse
from chainrule.streams import generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chainrule.network import Network
    from chainrule.tape import Array

__all__ = ["TrainingLoop"]

_VERSION = 1
_FEW_ROWS = 1 << 20
# What a checkpoint and a run that resumes from it must share of the training; epochs may differ.
_SHARED = (
    "batch_size",
    "bptt_steps",
    "clip",
    "early_stopping",
    "ema_momentum",
    "gradient_accumulation_steps",
    "l1",
    "l2",
    "max_norm",
    "optimizer",
    "schedule",
    "seed",
    "shards",
    "shuffle",
)
_KEPT = {"average": "average of the weights", "gathered": "sum of the gradients"}


class TrainingLoop:
    """Train a network: every number follows from the arguments, however often it stops.

    ``train`` and ``validation`` are (inputs, targets) or (inputs, targets, weights of the rows).
    ``checkpoint`` goes on where one was taken. ``step`` counts batches learnt, or the windows that
    they are cut in, ``epoch`` the epochs completed and reported. The network's dtype is the
    precision; ``training.precision`` is for whoever makes the network. ``augmentation`` has the
    steps of a job's ``data.augmentation``.
    Raises: DataError, if rows do not fit; CheckpointError, if the checkpoint is of another run.
    """

    is_last = True  # of the networks of a run

    def __init__(  # noqa: PLR0913
        self,
        net: Network,
        train: Rows,
        training: TrainingSpec | Mapping[str, Any],
        *,
        validation: Rows | None = None,
        checkpoint: Checkpoint | None = None,
        target_scale: TargetScale | None = None,
        augmentation: Sequence[Any] = (),
    ) -> None:
        check_parts("train", train)
        self.net = net
        self.training = parse(TrainingSpec, training)
        self.objective = Objective.of(net.output_shapes, self.training, train[1])
        self._train = Samples(net, self.objective, *train)
        if augmentation:
            self._train.augmentation = Augmentation(net, augmentation, self.training.seed)
        self.epochs = self.training.epochs
        self._cutting = Cutting(net, self.training)
        batches = -(-self._train.rows // self.training.batch_size)
        self.steps_per_epoch = batches * self._cutting.updates
        self.steps = self.epochs * self.steps_per_epoch
        self.step = 0
        self.epoch = 0
        self.best: dict[str, Any] = {}
        self._update = Update(net, self.training, self.steps_per_epoch)
        self._schedule = schedule_of(self.training.schedule)
        self._plateau = Plateau(self.training)
        self._stopping = Stopping(net, self.training.early_stopping)
        unit = unit_of(target_scale)
        self._shards = Shards(net, self._train, self._cutting, self.training, unit)
        self._evaluator: Evaluator | None = None
        if validation is not None:
            rows = max(self.training.batch_size, net.block_rows(EVALUATION_ROWS))
            kept_aside = _checked(net, self.objective, validation)
            self._evaluator = Evaluator(net, kept_aside, rows, unit)
        self._order: tuple[int, Array] | None = None
        self._seconds = 0.0
        self._samples = 0
        if checkpoint is not None:
            self._restore(checkpoint)

    def run(self) -> Iterator[StepReport | EpochReport]:
        """Yield a StepReport after every batch, and after an epoch's last one an EpochReport too.

        Raises: DivergedError, if the loss, a parameter or an optimizer slot is no longer finite.
        """
        training = self.training
        with ThreadPool(min(training.threads, training.shards)) as pool:
            while True:
                if self.step == (self.epoch + 1) * self.steps_per_epoch:
                    yield self._end_epoch()
                if self.step >= self.steps or self.stopped:
                    return
                began = time.perf_counter()
                loss = self._step(pool)
                self._seconds += time.perf_counter() - began
                yield StepReport(self.step, self.epoch + 1, loss)

    def checkpoint(self) -> Checkpoint:
        """Return a copy of all that a resume needs.

        Raises: DivergedError, rather than return one that is not finite.
        """
        self._check_finite()
        return Checkpoint(
            parameters=self.net.flat.copy(),
            slots={name: vector.copy() for name, vector in self._update.slots.items()},
            state=self.net.state.copy(),
            kept={
                **{name: vector.copy() for name, vector in self._kept.items()},
                **self._cutting.carried(self._shards.tapes),
            },
            best=dict(self.best),
            loop={
                "version": _VERSION,
                "step": self.step,
                "epoch": self.epoch,
                "batch": self.step - self.epoch * self.steps_per_epoch,
                "sums": self._shards.tallies.sums.astype("<f8").tobytes().hex(),
                "run": self._identity(),
                **self._plateau.record,
                **self._stopping.record,
            },
        )

    @property
    def stopped(self) -> bool:
        """Whether early stopping ended the run."""
        return self._stopping.stopped

    @property
    def epoch_left(self) -> int:
        """How many steps the epoch still has."""
        return (self.epoch + 1) * self.steps_per_epoch - self.step

    def finish(self) -> Mapping[str, Any] | None:
        """Give the network the weights to keep; the run is over, its scratch memory free.

        They are the best epoch's, if early stopping restores them, else the average, if there is
        one, else the last.  Returns: the restored epoch's {epoch, train, validation}, or None.
        """
        self._shards.release()
        self._evaluator = None
        np.copyto(self.net.flat, self._update.judged)
        return self._stopping.restore_best()

    def _step(self, pool: ThreadPool) -> float:
        """Learn one batch and return its loss."""
        number = self.step + 1
        batch, window = divmod(self.step - self.epoch * self.steps_per_epoch, self._cutting.updates)
        place = Place(number, window, begins_epoch=batch == 0, epoch=self.epoch)
        with np.errstate(all="ignore"):  # overflow shows in the loss, which is looked at
            rows = self._rows(batch)
            loss = self._shards.learn(rows, place, pool)
            if not math.isfinite(loss):
                fault = self._train.fault(rows)
                raise DivergedError(self.epoch + 1, number, fault or "the loss is not finite")
            self._update.learn(self._shards.gradients, number, self._learning_rate(number), pool)
            self._shards.apply_moves()
        self.step = number
        self._samples += self._size(batch) if window == 0 else 0
        return loss

    def _size(self, batch: int) -> int:
        """Return how many rows a batch has: the last one may have fewer."""
        size = self.training.batch_size
        return min(size, self._train.rows - batch * size)

    def _rows(self, batch: int) -> Array:
        """Return a batch's rows: an epoch's order follows from the seed and its number."""
        start = batch * self.training.batch_size
        stop = start + self._size(batch)
        if not self.training.shuffle:
            return np.arange(start, stop)
        if self._order is None or self._order[0] != self.epoch:
            rng = generator(self.training.seed, "shuffle", self.epoch)
            self._order = (self.epoch, rng.permutation(_numbers(self._train.rows)))
        return self._order[1][start:stop].astype(np.intp, copy=False)

    def _learning_rate(self, step: int) -> float:
        update = self._update
        return self._schedule.rate(self._plateau.rate, update.number(step), update.updates)

    def _end_epoch(self) -> EpochReport:
        self._check_finite()
        with self._update.averaged():
            validation = self._evaluator.run() if self._evaluator else None
        if validation is not None and not math.isfinite(validation["loss"]):
            raise self._diverged("the validation loss is not finite")
        report = EpochReport(
            epoch=self.epoch + 1,
            step=self.step,
            train=self._shards.tallies.result(),
            validation=validation,
            learning_rate=self._learning_rate(self.step),
            seconds=self._seconds,
            samples_per_s=self._samples / self._seconds if self._seconds else 0.0,
        )
        loss = judged(report)
        if not self.best or loss < self.best["loss"]:
            self.best = {"epoch": report.epoch, "step": report.step, "loss": loss}
        self._plateau.judge(loss)
        self._stopping.judge(report, self._update.judged)
        self.epoch += 1
        self._shards.tallies.clear()
        self._seconds, self._samples = 0.0, 0
        return report

    def _check_finite(self) -> None:
        if not _is_finite(self.net.flat):
            raise self._diverged("a parameter is not finite")
        if not _is_finite(self.net.state):
            raise self._diverged("a moving average is not finite")
        for name, vector in self._update.slots.items():
            if not _is_finite(vector):
                raise self._diverged(f"the optimizer's {name} is not finite")
        for name, vector in self._update.vectors.items():
            if not _is_finite(vector):
                raise self._diverged(f"the {_KEPT[name]} is not finite")

    @property
    def _kept(self) -> dict[str, Array]:
        """The vectors that options of the training keep."""
        return {**self._update.vectors, **self._stopping.vectors}

    def _diverged(self, detail: str) -> DivergedError:
        """Blame the last batch learnt."""
        return DivergedError(max(self.step - 1, 0) // self.steps_per_epoch + 1, self.step, detail)

    def _identity(self) -> dict[str, Any]:
        """Return what a checkpoint and a run that resumes from it must share."""
        training, augmentation = self.training.render(), self._train.augmentation
        shared = {name: training[name] for name in _SHARED}
        if self._schedule.spans_run:
            shared["epochs"] = self.epochs
        return {
            "loss": self.objective.document(),
            "dtype": self.net.dtype.name,
            "parameters": self.net.flat.size,
            "rows": self._train.rows,
            "augmentation": augmentation and augmentation.render(),
            **shared,
        }

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self._take(checkpoint, checkpoint.loop)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's loop record is damaged: {error!r}") from error

    def _take(self, checkpoint: Checkpoint, loop: Mapping[str, Any]) -> None:
        if loop.get("version") != _VERSION:
            detail = f"wanted {_VERSION}, got {loop.get('version')}"
            raise CheckpointError(f"the checkpoint's loop record is of another version: {detail}")
        for name, wanted in self._identity().items():
            if (got := loop["run"].get(name)) != wanted:
                raise CheckpointError(
                    f"the checkpoint is of another run: {name} {got}, not {wanted}"
                )
        self.net.flat[:] = checkpoint.parameters
        self.net.state[:] = checkpoint.state
        for name, vector in self._update.slots.items():
            vector[:] = checkpoint.slots[name]
        for name, vector in self._kept.items():
            vector[:] = checkpoint.kept[name]
        self._cutting.restore(self._shards.tapes, checkpoint.kept)
        self.step, self.epoch = loop["step"], loop["epoch"]
        self.best = dict(checkpoint.best)
        self._plateau.restore(loop)
        self._stopping.restore(loop)
        self._shards.tallies.sums[:] = np.frombuffer(bytes.fromhex(loop["sums"]), "<f8")


def _checked(net: Network, objective: Objective, rows: Rows) -> Samples:
    check_parts("validation", rows)
    try:
        return Samples(net, objective, *rows)
    except DataError as error:
        raise error.under("validation") from None


def _numbers(rows: int) -> Array:
    """Return 0 to ``rows``, of many rows in half the bytes: shuffled, they come out the same."""
    return np.arange(rows, dtype=np.int32 if _FEW_ROWS < rows < 2**31 else np.intp)


def _is_finite(vector: Array) -> bool:
    """Look at a vector a block at a time: a network's whole vector of booleans may be large."""
    size = 1 << 20
    return all(
        bool(np.isfinite(vector[start : start + size]).all())
        for start in range(0, vector.size, size)
    )
