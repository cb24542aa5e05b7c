"""Cross-validation: a network for each fold and one to keep, as one run that stops and resumes."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from itertools import accumulate
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule.errors import CheckpointError, DivergedError
from chainrule.fitting.reports import EpochReport
from chainrule.fitting.stopping import measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from chainrule.checkpoint import Checkpoint
    from chainrule.fitting.loop import TrainingLoop
    from chainrule.fitting.reports import StepReport
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec

    Stage = Callable[[int, TrainingSpec, Checkpoint | None], TrainingLoop]

__all__ = ["CrossValidation", "fold_summary"]


class _Begin(NamedTuple):
    """What a stage has before it in the run."""

    step: int
    epoch: int


class CrossValidation:
    """Train a network for each fold, and at last one for all rows: the one to keep.

    It runs, stops and goes on as one ``TrainingLoop``: steps and epochs count through all stages,
    of which each has its share whether it takes all of it or stops early. With early stopping the
    last network learns for as many epochs as the folds' did up to what they kept, in the mean,
    since it has no rows to judge by. ``stage`` makes a stage's loop, on a network of its own;
    ``steps`` are the steps that each stage has.
    Raises: CheckpointError, if the checkpoint is of another run.
    """

    def __init__(
        self,
        stage: Stage,
        steps: Sequence[int],
        training: TrainingSpec,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._make = stage
        self._begins = [
            _Begin(step, number * training.epochs)
            for number, step in enumerate(accumulate(steps, initial=0))
        ]
        self.training = training
        self.steps, self.epochs = self._begins[-1]
        self.number = 0
        self.folds: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        if checkpoint is not None:
            self._restore(checkpoint)
        self._loop = self._stage(checkpoint)

    def run(self) -> Iterator[StepReport | EpochReport]:
        """Yield the reports of all stages.  Raises: DivergedError."""
        yield from self._run_stage()
        while not self.is_last:
            self._end_fold()
            yield from self._run_stage()

    def checkpoint(self) -> Checkpoint:
        """Return a copy of all that a resume needs.  Raises: DivergedError."""
        kept = self._loop.checkpoint()
        record = {"stage": self.number, "folds": [*self.folds], "last": self._last}
        return replace(kept, loop={**kept.loop, "cross_validation": record})

    def finish(self) -> Mapping[str, Any] | None:
        """Give the last network the weights to keep, as ``TrainingLoop.finish``."""
        return self._loop.finish()

    @property
    def net(self) -> Network:
        """The network of the stage."""
        return self._loop.net

    @property
    def objective(self) -> Any:
        """What the stage's network learns."""
        return self._loop.objective

    @property
    def step(self) -> int:
        """The steps done or left out."""
        return self._begins[self.number].step + self._loop.step

    @property
    def epoch(self) -> int:
        """The epochs done or left out."""
        return self._begins[self.number].epoch + self._loop.epoch

    @property
    def epoch_left(self) -> int:
        """How many steps the epoch still has."""
        return self._loop.epoch_left

    @property
    def is_last(self) -> bool:
        """Whether the network to keep is learning."""
        return self.number == len(self._begins) - 2

    @property
    def stopped(self) -> bool:
        """Whether the last network ends before its last epoch."""
        return self.is_last and self._most_epochs < self.training.epochs

    @property
    def _most_epochs(self) -> int:
        """How many epochs the stage's network may learn for."""
        if not self.is_last or self.training.early_stopping is None:
            return self.training.epochs
        return max(1, round(fmean(fold["epoch"] for fold in self.folds)))

    def _run_stage(self) -> Iterator[StepReport | EpochReport]:
        loop, begin, most = self._loop, self._begins[self.number], self._most_epochs
        try:
            for report in loop.run() if loop.epoch < most else ():
                epoch, step = begin.epoch + report.epoch, begin.step + report.step
                if isinstance(report, EpochReport):
                    self._last = measured(report)
                    yield replace(report, epoch=epoch, step=step)
                    if loop.epoch >= most:
                        return
                else:
                    yield report._replace(epoch=epoch, step=step)
        except DivergedError as error:
            place = begin.epoch + error.epoch, begin.step + error.step
            raise DivergedError(*place, error.detail) from None

    def _end_fold(self) -> None:
        """Note what the fold measured, and begin the next stage once its memory is free."""
        kept = self._loop.finish() or self._last
        self.folds.append({"fold": self.number + 1, **kept})
        self.number += 1
        self._last = {}
        del self._loop
        gc.collect()  # what a loop has made refers to itself in circles
        self._loop = self._stage(None)

    def _stage(self, checkpoint: Checkpoint | None) -> TrainingLoop:
        training = self.training
        if self.is_last:
            training = training.model_copy(update={"early_stopping": None})
        return self._make(self.number, training, checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            record = checkpoint.loop["cross_validation"]
            self.number, self._last = record["stage"], record["last"]
            self.folds = [*record["folds"]]
        except (KeyError, TypeError) as error:
            raise CheckpointError("the checkpoint is not one of a cross-validation") from error


def fold_summary(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return {folds, mean, standard_error} of what the folds measured on their own rows.

    Null is what a fold could not measure. The folds' networks share most of their rows, so the
    standard error is rather too small (Bengio & Grandvalet, 2004).
    """
    mean: dict[str, float | None] = {}
    error: dict[str, float | None] = {}
    for name in folds[0]["validation"]:
        values = [fold["validation"][name] for fold in folds]
        known = all(value is not None for value in values)
        mean[name] = fmean(values) if known else None
        error[name] = stdev(values) / math.sqrt(len(values)) if known else None
    return {"folds": [*folds], "mean": mean, "standard_error": error}
