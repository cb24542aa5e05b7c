"""Training as a generator of reports: early stop and cancel are the caller's ``break``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.errors import SpecError
from chainrule.fitting.augmentation import check_augmentation
from chainrule.fitting.cross_validation import CrossValidation, fold_summary
from chainrule.fitting.evaluation import TargetScale, evaluate
from chainrule.fitting.loop import TrainingLoop
from chainrule.fitting.reports import EpochReport, StepReport
from chainrule.fitting.update import kept_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from chainrule.fitting.samples import Rows
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec

__all__ = [
    "CrossValidation",
    "EpochReport",
    "StepReport",
    "TargetScale",
    "TrainingLoop",
    "check_augmentation",
    "evaluate",
    "fit",
    "fold_summary",
    "kept_vectors",
]


def fit(
    net: Network,
    train: Rows,
    training: TrainingSpec | Mapping[str, Any],
    validation: Rows | None = None,
    *,
    augmentation: Sequence[Any] = (),
) -> Iterator[EpochReport]:
    """Train a network in place and yield a report after each epoch.

    ``train`` and ``validation`` may have the weights of the rows (or of their steps) as a third.
    ``augmentation`` is a list of steps as in a job's ``data``, done to what is learnt from.
    Where the network has several inputs or outputs, theirs are {name: array}.
    Nothing is learnt before the first report is taken; once all are, the network has the weights to
    keep: with early stopping the best epoch's. ``gradient_check`` and ``max_seconds`` are for jobs.
    Shapes: train and validation are (inputs (rows, *input_shape), targets as the loss wants them).
    Raises: SpecError, DataError, before the first step; DivergedError.
    """
    loop = TrainingLoop(net, train, training, validation=validation, augmentation=augmentation)
    wanted = loop.training
    if wanted.warm_start is not None:
        detail = "names what a service has: call chainrule.warm_start(net, source) before"
        raise SpecError.at("warm_start", detail)
    if "precision" in wanted.model_fields_set and wanted.precision != net.dtype.name:
        made = f"make one by Network(spec, dtype={wanted.precision!r})"
        raise SpecError.at("precision", f"is the network's, which is {net.dtype}: {made}")
    return _epochs(loop)


def _epochs(loop: TrainingLoop) -> Iterator[EpochReport]:
    yield from (report for report in loop.run() if isinstance(report, EpochReport))
    loop.finish()
