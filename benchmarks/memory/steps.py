"""Ten thousand steps: what a process holds after the first few hundred, and at most ever after."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from typing import NamedTuple

from benchmarks.engine.cases import ADAM, SEED, EngineCase, data, network
from benchmarks.memory.children import private_mb
from chainrule.fitting import StepReport, TrainingLoop

__all__ = ["GROWTH_KB", "GROWTH_MB", "STEPS", "Growth", "grow"]

STEPS, _FIRST, _EVERY = 10_000, 500, 100
GROWTH_MB = 1.0  # of the process, whose allocator keeps some pages to itself
GROWTH_KB = 32.0  # of all that Python and numpy hold: a report, a counter, no array


class Growth(NamedTuple):
    """What a process held after the first steps, and how much more at most at any later sample."""

    private_mb: float
    more_mb: float
    more_kb: float  # of what tracemalloc counts


def grow(case: EngineCase) -> Growth:
    """Train a case and sample its memory every hundred steps."""
    training = {
        "loss": case.loss,
        "optimizer": {"kind": "adam", **ADAM},
        "epochs": STEPS,
        "batch_size": case.batch,
        "seed": SEED,
    }
    loop = TrainingLoop(network(case), data(case), training)
    tracemalloc.start()
    (mb, kb), *later = [
        (private_mb(), tracemalloc.get_traced_memory()[0] / 1e3)
        for report in islice(loop.run(), STEPS + STEPS // case.steps)
        if isinstance(report, StepReport) and report.step >= _FIRST and report.step % _EVERY == 0
    ]
    tracemalloc.stop()
    return Growth(mb, max(one[0] for one in later) - mb, max(one[1] for one in later) - kb)
