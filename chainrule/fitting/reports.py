"""What a run tells its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EpochReport", "StepReport"]


class StepReport(NamedTuple):
    """A batch is learnt.  Epochs and steps count from 1; the loss is the batch's mean."""

    step: int
    epoch: int
    loss: float


@dataclass(frozen=True)
class EpochReport:
    """An epoch is over.

    ``train`` has the loss and metrics of the batches as they were learnt, ``validation`` those of
    the network after the epoch.
    Units: seconds and samples per second of the training steps that this process did.
    """

    epoch: int
    step: int
    train: Mapping[str, float]
    validation: Mapping[str, float] | None
    learning_rate: float
    seconds: float
    samples_per_s: float
