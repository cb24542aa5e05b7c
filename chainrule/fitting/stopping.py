"""What an epoch's loss decides: a lower rate on a plateau, an early end, the weights to keep.

Each keeps a small record, plain JSON, that goes into the checkpoint.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.tape import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chainrule.fitting.reports import EpochReport
    from chainrule.network import Network
    from chainrule.spec import TrainingSpec
    from chainrule.spec.training import EarlyStoppingSpec
    from chainrule.tape import Array

__all__ = ["Plateau", "Stopping", "judged", "measured", "plain"]


def judged(report: EpochReport) -> float:
    """Return the loss that an epoch is judged by: the validation's, else the training's."""
    return (report.validation or report.train)["loss"]


class Plateau:
    """The highest rate, lowered whenever the loss stands still.

    Source: keras.callbacks.ReduceLROnPlateau.
    """

    def __init__(self, training: TrainingSpec) -> None:
        schedule = training.schedule
        self._spec = schedule if schedule.kind == "reduce_on_plateau" else None
        self.rate = training.optimizer.learning_rate
        self._best: float | None = None
        self._wait = 0
        self._cooldown = 0

    def judge(self, loss: float) -> None:
        """Take an epoch's loss, and lower the rate if it was one too many without a better one."""
        spec = self._spec
        if spec is None:
            return
        if self._cooldown:
            self._cooldown -= 1
            self._wait = 0
        if self._best is None or loss < self._best - spec.min_delta:
            self._best, self._wait = loss, 0
        elif not self._cooldown:
            self._wait += 1
            if self._wait >= spec.patience:
                self.rate = min(self.rate, max(self.rate * spec.factor, spec.min_learning_rate))
                self._cooldown, self._wait = spec.cooldown, 0

    @property
    def record(self) -> dict[str, Any]:
        """All that a resume needs; nothing, if the rate follows from the step."""
        if self._spec is None:
            return {}
        state = {"rate": self.rate, "best": self._best}
        return {"plateau": {**state, "wait": self._wait, "cooldown": self._cooldown}}

    def restore(self, loop: Mapping[str, Any]) -> None:
        """Go on from a loop record."""
        if self._spec is not None:
            state = loop["plateau"]
            self.rate, self._best = state["rate"], state["best"]
            self._wait, self._cooldown = state["wait"], state["cooldown"]


class Stopping:
    """Early stopping, and the weights and the state of the best epoch, if they are to be restored.

    Source: keras.callbacks.EarlyStopping.
    """

    def __init__(self, net: Network, spec: EarlyStoppingSpec | None) -> None:
        self._spec = spec
        self._net = net
        self.stopped = False
        self._best: float | None = None
        self._wait = 0
        self._metrics: dict[str, Any] | None = None
        self.vectors: dict[str, Array] = {}
        if spec is not None and spec.restore_best:
            self.vectors["best"] = aligned(net.flat.size, net.dtype)
            self.vectors["best_state"] = aligned(net.state.size, net.dtype)

    def judge(self, report: EpochReport, weights: Array) -> None:
        """Take an epoch's report and the weights that it was judged by; decide whether to stop."""
        spec, loss = self._spec, judged(report)
        if spec is None or report.epoch <= spec.start_from_epoch:
            return
        self._wait += 1
        if self._best is None or loss < self._best - spec.min_delta:
            self._best, self._wait = loss, 0
            self._keep(report, weights)
        elif self._wait >= spec.patience:
            self.stopped = True

    def restore_best(self) -> dict[str, Any] | None:
        """Put the best epoch's weights into the network.

        Returns: that epoch's {train, validation}; None, if there is no such epoch.
        """
        if self._metrics is not None:
            np.copyto(self._net.flat, self.vectors["best"])
            np.copyto(self._net.state, self.vectors["best_state"])
        return self._metrics

    @property
    def record(self) -> dict[str, Any]:
        """All that a resume needs besides the vectors; nothing without early stopping."""
        if self._spec is None:
            return {}
        state = {"best": self._best, "wait": self._wait, "stopped": self.stopped}
        return {"stopping": {**state, "metrics": self._metrics}}

    def restore(self, loop: Mapping[str, Any]) -> None:
        """Go on from a loop record; the caller fills the vectors."""
        if self._spec is not None:
            state = loop["stopping"]
            self._best, self._wait = state["best"], state["wait"]
            self.stopped, self._metrics = state["stopped"], state["metrics"]

    def _keep(self, report: EpochReport, weights: Array) -> None:
        if self.vectors:
            np.copyto(self.vectors["best"], weights)
            np.copyto(self.vectors["best_state"], self._net.state)
            self._metrics = measured(report)


def measured(report: EpochReport) -> dict[str, Any]:
    """Return what an epoch measured as plain JSON."""
    return {
        "epoch": report.epoch,
        "train": plain(report.train),
        "validation": plain(report.validation),
    }


def plain(metrics: Mapping[str, float] | None) -> dict[str, float | None] | None:
    """Return metrics as JSON knows them: a number that is not finite is null."""
    if metrics is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
