"""What checkpoints cost a run, and what a kill between two of them loses.

The supervisor is a worker's own, in this process, on a database of its own; its trainers are real.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.recovery.stand import ENDLESS
from service.settings import Settings
from service.store import migrate
from service.store.database import Database
from tests import training_jobs
from tests.waiting import eventually
from worker.frames import Frame
from worker.process import TrainerProcess
from worker.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from worker.process import Ended, Wake

    Tell = Callable[[str], None]

__all__ = ["Cost", "compare", "lost", "share"]

ROWS, PIXELS, BATCH = 5000, 784, 128  # as MNIST-5k has
LAYERS = [  # with Adam's slots, a checkpoint of 8 MB
    {"kind": "dense", "units": 512, "activation": "relu"},
    {"kind": "dense", "units": 512, "activation": "relu"},
    {"kind": "dense", "units": 1},
]
LONGEST_UNIT_S = 11.0
ALMOST = 0.97  # of the steps
SILENCE_S = 2.0
CALIBRATING_EPOCHS = 40


class Cost:
    """What one run has cost.  Units: seconds."""

    def __init__(self, processor_s: float, spent: dict[str, Any]) -> None:
        self.processor_s = processor_s
        self.saving_s = spent["saving_s"]
        self.learning_s = spent["learning_s"]


class Watched(TrainerProcess):
    """A trainer of which is noted how far it said it was, and what it said at its end."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []  # when it said so, by the monotonic clock
        self.committed: list[int] = []
        self.spent: dict[str, Any] = {}
        self.last = 0
        super().__init__()

    def step_at(self, moment: float) -> float:
        """Return about how many steps were done at a moment: the last that was told, and on."""
        at, step = max(told for told in self.steps if told[0] <= moment)
        return step + self.steps_per_s() * (moment - at)

    def steps_per_s(self) -> float:
        """Return how fast it has learnt, from the first step it told of to the last."""
        (began_at, first), (ended_at, last) = self.steps[1], self.steps[-1]
        return (last - first) / (ended_at - began_at)

    def next(self, timeout_s: float) -> Frame | Ended | Wake | None:
        event = super().next(timeout_s)
        if isinstance(event, Frame):
            if event.kind in ("started", "progress", "unit") and "step" in event.header:
                self.steps.append((time.monotonic(), event.header["step"]))
            self.last = event.header.get("steps", self.last)
            if event.kind == "unit":
                self.spent = event.header  # the last has all but its own
        return event

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        if kind == "committed":
            self.committed.append(fields["step"])
        super().send(kind, payload, **fields)


class Unanswered(Watched):
    """A trainer that hears of no commit until it is almost done, and so makes no checkpoint."""

    def __init__(self) -> None:
        self._held: dict[str, Any] | None = None
        super().__init__()

    def next(self, timeout_s: float) -> Frame | Ended | Wake | None:
        event = super().next(timeout_s)
        at, step = self.steps[-1] if self.steps else (0.0, 0)
        silent = time.monotonic() - at > SILENCE_S  # it has learnt all, and waits for the answer
        if self._held is not None and (silent or step >= ALMOST * self.last):
            super().send("committed", **self._held)
            self._held = None
        return event

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        if kind == "committed" and fields["step"] < ALMOST * self.last:
            self._held = fields
        else:
            super().send(kind, payload, **fields)


class Bench:
    """A database with one dataset, and a supervisor."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'chainrule.db'}"
        migrate.upgrade(url)
        self.database = Database(url)
        settings = Settings.from_env(
            {"CHAINRULE_DATA_DIR": str(folder), "CHAINRULE_DATABASE_URL": url}
        )
        self.supervisor = Supervisor(self.database, settings, "bench")
        self.dataset_id = training_jobs.store(self.database, *training_jobs.noise(ROWS, PIXELS))

    def submit(self, epochs: int) -> str:
        """Queue a job."""
        return training_jobs.submit(
            self.database,
            self.dataset_id,
            layers=LAYERS,
            data={"inputs": "inputs", "target": "targets"},
            epochs=epochs,
            batch_size=BATCH,
            evaluation="off",
        )

    def run(self, epochs: int, kind: type[Watched]) -> Cost:
        """Do a job and tell what it has cost."""
        job, trainer = self.submit(epochs), kind()
        before = _processor_s()
        self.supervisor.run(job, lambda: trainer)
        after = _processor_s()
        found = training_jobs.read(self.database, job)
        assert found.state == "succeeded", found.error
        return Cost(after - before, trainer.spent)

    def epoch_s(self) -> float:
        """Return about how long an epoch takes."""
        return self.run(CALIBRATING_EPOCHS, Watched).learning_s / CALIBRATING_EPOCHS


def share(folder: Path, seconds: float, tell: Tell) -> Cost:
    """Do one job of so many seconds as every job is done."""
    with _bench(folder) as bench:
        epochs = round(seconds / bench.epoch_s())
        tell(f"a job of {epochs} epochs, which should take {seconds:.0f} s")
        return bench.run(epochs, Watched)


def compare(folder: Path, pairs: int, seconds: float, tell: Tell) -> tuple[list[Cost], list[Cost]]:
    """Do a job with checkpoints and without, in turns.  Returns: the costs of either kind."""
    found: tuple[list[Cost], list[Cost]] = ([], [])
    with _bench(folder) as bench:
        epochs = round(seconds / bench.epoch_s())
        for number in range(pairs):
            kinds = list(zip(found, (Watched, Unanswered), strict=True))
            for costs, kind in kinds[:: 1 if number % 2 else -1]:
                costs.append(bench.run(epochs, kind))
            tell(
                f"learnt for {found[0][-1].learning_s:.2f} s with checkpoints, "
                f"{found[1][-1].learning_s:.2f} s without"
            )
    return found


def lost(folder: Path, repeat: int, tell: Tell) -> dict[str, list[float]]:
    """Kill the trainer of a job at all points between two checkpoints.

    Returns: what each kill has lost: the time that the steps took which are to be done again (s).
    """
    found, moments = [], [LONGEST_UNIT_S * (n + 0.5) / repeat for n in range(repeat)]
    random.Random(3).shuffle(moments)
    with _bench(folder) as bench:
        job = bench.submit(ENDLESS)
        for number, moment in enumerate(moments, 1):
            trainer = Watched()
            killer = Killer(trainer, moment)
            killer.start()
            assert bench.supervisor.run(job, lambda trainer=trainer: trainer), (
                "it waits for a crash"
            )
            killer.join()
            done = trainer.step_at(killer.killed_at)
            again = done - training_jobs.read(bench.database, job).step
            found.append(max(again, 0.0) / trainer.steps_per_s())
            tell(f"kill {number} of {repeat}: {again:.0f} steps again, {found[-1]:.1f} s")
        training_jobs.cancel(bench.database, job)
    return {"work lost by a kill": found}


class Killer(threading.Thread):
    """Kills a trainer so many seconds after the first unit that it has learnt is committed."""

    def __init__(self, trainer: Watched, after_s: float) -> None:
        super().__init__(daemon=True)
        self._trainer = trainer
        self._after_s = after_s
        self.killed_at = 0.0

    def run(self) -> None:
        trainer = self._trainer
        eventually(lambda: trainer.committed and trainer.committed[-1] > trainer.steps[0][1])
        time.sleep(self._after_s)
        self.killed_at = time.monotonic()
        os.kill(trainer.pid, signal.SIGKILL)


@contextmanager
def _bench(folder: Path) -> Iterator[Bench]:
    logging.getLogger("worker").setLevel(logging.ERROR)
    bench = Bench(folder)
    try:
        yield bench
    finally:
        bench.database.dispose()


def _processor_s() -> float:
    """Return what this process and its trainers that have ended took of a processor."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
