"""Our side: the training loop that a job runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.engine.cases import ADAM, SEED, EngineCase, data, network
from chainrule.fitting import EpochReport, TrainingLoop
from chainrule.fitting.sharding import pays

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Ours"]

_FOREVER = 1_000_000  # epochs


class Ours:
    """A training of ours, an epoch at a time.

    Each batch is cut in as many shards as there are threads, where the documents advise it: a short
    step is faster whole, on one thread.
    """

    def __init__(self, case: EngineCase, threads: int) -> None:
        self.name = "chainrule"
        self.net = network(case)
        shards = threads if pays(self.net, case.batch) else 1
        self.facts: dict[str, Any] = {"threads": threads, "shards": shards}
        training: dict[str, Any] = {
            "loss": case.loss,
            "optimizer": {"kind": "adam", **ADAM},
            "epochs": _FOREVER,
            "batch_size": case.batch,
            "seed": SEED,
            "shards": shards,
            "threads": threads,
        }
        self._reports = self._run(TrainingLoop(self.net, data(case), training))

    def epoch(self, number: int) -> list[float]:
        """Train an epoch and return the loss of each batch; the epochs' order is the loop's own."""
        return next(self._reports)

    @staticmethod
    def _run(loop: TrainingLoop) -> Iterator[list[float]]:
        losses: list[float] = []
        for report in loop.run():
            if isinstance(report, EpochReport):
                yield losses
                losses = []
            else:
                losses.append(report.loss)
