"""Where the time of our steps goes: ``python -m benchmarks.engine --profile``."""

from __future__ import annotations

import cProfile
import os
import pstats
from typing import TYPE_CHECKING

from benchmarks.engine.ours import Ours

if TYPE_CHECKING:
    from benchmarks.engine.cases import EngineCase

__all__ = ["profile"]

_LINES = 14


def profile(case: EngineCase, steps: int = 60) -> None:
    """Print the functions in which a case's steps spend most time, by their own time."""
    side = Ours(case, threads=1)
    side.epoch(0)
    epochs = max(1, steps // case.steps)
    profiler = cProfile.Profile()
    profiler.enable()
    for number in range(epochs):
        side.epoch(number + 1)
    profiler.disable()
    stats = pstats.Stats(profiler)
    taken: dict[str, tuple[int, float]] = {}
    for (path, line, name), (_, calls, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        where = name if path == "~" else f"{os.path.relpath(path)}:{line} {name}"
        taken[where] = (calls, own)
    total = sum(own for _, own in taken.values())
    per_step = 1.0 / (epochs * case.steps)
    print(f"\n{case.name}: {1e6 * total * per_step:.0f} us a step under the profiler")
    for where, (calls, own) in sorted(taken.items(), key=lambda one: -one[1][1])[:_LINES]:
        print(
            f"{own / total:>6.1%} {1e6 * own * per_step:>9.1f} us {calls * per_step:>8.1f}  {where}"
        )
