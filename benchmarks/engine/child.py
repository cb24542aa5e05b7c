"""One side in a process of its own: told an epoch's number, it trains it and tells how long.

``python -m benchmarks.engine.child SIDE CASE THREADS``, a line of JSON for each line of input.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any, Protocol

from benchmarks.engine.cases import CASES, EngineCase

__all__ = ["SIDES", "Side", "make"]

# A side's name to its module and class there, and what must be installed for it.
SIDES = {
    "chainrule": ("benchmarks.engine.ours", "Ours", "chainrule"),
    "PyTorch": ("benchmarks.engine.torch_side", "PyTorch", "torch"),
    "PyTorch fused": ("benchmarks.engine.torch_side", "FusedPyTorch", "torch"),
    "JAX": ("benchmarks.engine.jax_side", "Jax", "jax"),
    "scikit-learn": ("benchmarks.engine.sklearn_side", "ScikitLearn", "sklearn"),
    "machine": ("benchmarks.engine.machine", "Machine", "numpy"),
}


class Side(Protocol):
    """A training that goes on an epoch at a time.  ``facts``: what the table may tell of it."""

    name: str
    facts: dict[str, Any]

    def epoch(self, number: int) -> list[float]:
        """Train an epoch, numbered from 0, and return the loss of each batch."""


def make(side: str, case: EngineCase, threads: int) -> Side:
    """Return a side of a case."""
    module, name, _ = SIDES[side]
    made: Side = getattr(importlib.import_module(module), name)(case, threads)
    return made


def main() -> None:
    """Answer until the input ends."""
    name, wanted, threads = sys.argv[1:]
    case = next(case for case in CASES if case.name == wanted)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes elsewhere
    _stay_on(int(threads))
    side = make(name, case, int(threads))
    print(json.dumps({"name": side.name, "facts": side.facts}), file=answers, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        losses = side.epoch(int(line))
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "losses": losses}), file=answers, flush=True)


def _stay_on(threads: int) -> None:
    """Leave this process as many cores as it may have threads, whatever its library asks for."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


if __name__ == "__main__":
    main()
