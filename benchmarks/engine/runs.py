"""Epochs of all sides in turns, so that a busy machine hits every one of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.engine.child import SIDES
from benchmarks.engine.machine import LARGE, Floor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.engine.cases import EngineCase

__all__ = [
    "CHECKED_STEPS",
    "TOLERANCE",
    "Effort",
    "Run",
    "difference",
    "floor_of",
    "is_installed",
    "measure",
    "sgemm_rate",
]

CHECKED_STEPS, _AVERAGED = 100, 10
TOLERANCE = 1e-4  # of losses after so many steps
_WARM_UP = 1  # turns
_PATIENCE_S = 15.0
_PAUSE_S = 0.01  # until threads of the one before no longer wait in a loop for more work
_OWN_THREADS = ("chainrule", "machine")
_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")


@dataclass(frozen=True)
class Effort:
    """How long a case is measured: until a side has spent so many seconds, within bounds."""

    seconds: float
    least_turns: int
    most_turns: int
    least_steps: int = 0

    def suffices(self, run: Run) -> bool:
        """Whether a side has been measured enough."""
        turns = len(run.seconds)
        if turns < _WARM_UP + self.least_turns or len(run.losses) < self.least_steps:
            return False
        return turns >= _WARM_UP + self.most_turns or sum(run.seconds) >= self.seconds

    @staticmethod
    def is_spent(run: Run) -> bool:
        """Whether a side that nothing waits for has taken too long to be measured on."""
        return len(run.seconds) > _WARM_UP and sum(run.seconds) >= _PATIENCE_S


@dataclass(eq=False)
class Run:
    """A side's process on one case, and what it has told so far."""

    side: str
    case: EngineCase
    threads: int
    name: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Our threads are shards of the batch, each with a BLAS of one thread.
        threads = "1" if self.side in _OWN_THREADS else str(self.threads)
        more = {"TF_CPP_MIN_LOG_LEVEL": "2", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
        arguments = [self.side, self.case.name, str(self.threads)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **dict.fromkeys(_VARIABLES, threads), **more},
            text=True,
        )
        ready = self._answer()
        self.name, self.facts = ready["name"], ready["facts"]

    def turn(self) -> None:
        """Train the next epoch."""
        print(len(self.seconds), file=self._process.stdin, flush=True)
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.losses += answer["losses"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    @property
    def step_us(self) -> float:
        """The median epoch, divided by its steps."""
        return 1e6 * median(self.seconds[_WARM_UP:]) / self.case.steps

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.side} ended in {self.case.name!r}; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(case: EngineCase, threads: int, sides: Iterable[str], effort: Effort) -> list[Run]:
    """Measure sides that are installed: ours, then its peers, of which the first takes all turns.

    The other peers leave as soon as they have been measured enough. The machine's own rate, which
    changes with what else it does, is measured between them.
    """
    runs: list[Run] = []
    try:
        present = [side for side in sides if is_installed(side)]
        runs.extend(Run(side, case, threads) for side in [*present, "machine"])
        pair = [run for run in runs[:2] if run.side != "machine"]
        while not all(effort.suffices(run) for run in pair):
            for run in runs:
                stays = run in pair or run.side == "machine"
                if stays or not (effort.suffices(run) or effort.is_spent(run)):
                    time.sleep(_PAUSE_S)
                    run.turn()
    finally:
        for run in runs:
            run.close()
    return runs


def is_installed(side: str) -> bool:
    """Whether a side can run here."""
    return importlib.util.find_spec(SIDES[side][2]) is not None


def floor_of(runs: list[Run]) -> Floor:
    """Return what a step cannot do without, as measured between the turns of a case."""
    (run,) = (run for run in runs if run.side == "machine")
    turns = [Floor(*run.losses[start : start + 3]) for start in range(0, len(run.losses), 3)]
    return Floor(*map(median, zip(*turns[_WARM_UP:], strict=True)))


def sgemm_rate(floor: Floor) -> float:
    """Return what numpy reached on large matrices, in GFLOP/s."""
    return LARGE.flop / floor.large / 1e9


def difference(ours: list[float], theirs: list[float]) -> float:
    """Return the relative difference of the losses around step 100, or the last step there is."""
    end = min(CHECKED_STEPS, len(ours), len(theirs))
    a, b = (sum(losses[max(end - _AVERAGED, 0) : end]) for losses in (ours, theirs))
    return abs(a - b) / abs(b)
