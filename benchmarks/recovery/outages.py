"""The broker flushed, restarted, stopped; PostgreSQL restarted."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.recovery.stand import ENDLESS, FOREVER_S, Stand, digits_job, repeated
from tests.services import private_postgres

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Tell = Callable[[str], None]

__all__ = ["broker", "postgres", "stopped"]


def broker(folder: Path, repeat: int, tell: Tell) -> dict[str, list[float]]:
    """Have the broker forget a message that nobody has fetched yet; half the times by its death.

    Returns: the seconds from each fault until the job of that message runs, and until a job that
    was asked for right afterwards does.
    """
    waits = {
        f"broker {fault}: {job}": [] for fault in FAULTS for job in ("lost message", "new job")
    }
    with ExitStack() as stack:
        stand = Stand(stack, folder)
        worker = stand.start_worker("worker")
        for number in repeated(repeat, tell, "brokers flushed or restarted"):
            for fault, strike in FAULTS.items():
                lost = _lose_a_message(stand, worker)
                at = strike(stand, random.Random(number))
                os.kill(worker.pid, signal.SIGCONT)
                new = stand.submit()
                waits[f"broker {fault}: lost message"].append(stand.running_since(lost) - at)
                waits[f"broker {fault}: new job"].append(stand.running_since(new) - at)
    return waits


def stopped(folder: Path, repeat: int, tell: Tell) -> dict[str, list[float]]:
    """Ask for jobs while the broker is dead, then while it takes connections and says nothing.

    Returns: what each POST took, and how long after it its job began to run (s).
    """
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        stand = Stand(stack, folder)
        stand.start_worker("worker")
        for state, strike in (("stopped", Stand.kill_broker), ("hung", Stand.stall_broker)):
            strike(stand)
            posts = found[f"broker {state}: POST answered 202"] = []
            runs = found[f"broker {state}: its job running"] = []
            for _ in repeated(repeat, tell, f"jobs asked for, the broker being {state}"):
                began, at = time.perf_counter(), time.time()
                job = stand.submit()
                posts.append(time.perf_counter() - began)
                runs.append(stand.running_since(job) - at)
            stand.kill_broker()
            stand.start_broker()
    return found


def postgres(folder: Path, repeat: int, tell: Tell) -> dict[str, list[float]]:
    """Stop PostgreSQL at once and start it again a while later, a job being learnt.

    Returns: the seconds from its being back until that job has learnt more, until the API takes a
    job, and until that one runs.
    """
    rng = random.Random(4)
    names = ("running job learns", "POST answered 202", "new job running")
    waits = {f"PostgreSQL restarted: {name}": [] for name in names}
    with ExitStack() as stack:
        server = stack.enter_context(private_postgres(folder / "postgres"))
        stand = Stand(stack, folder, server.url)
        stand.start_worker("worker", trainers=2)
        job = stand.submit(epochs=ENDLESS)
        stand.learning_since(job, 1)
        for _ in repeated(repeat, tell, "PostgreSQL restarted"):
            time.sleep(rng.uniform(0.5, 1.5))
            server.stop()
            time.sleep(rng.uniform(0.0, 4.0))
            server.start()
            back_at = time.time()
            new, taken_at = _insist(stand)
            learnt_at = stand.learning_since(job, 1, after=back_at)
            moments = (learnt_at, taken_at, stand.running_since(new))
            for name, moment in zip(names, moments, strict=True):
                waits[f"PostgreSQL restarted: {name}"].append(moment - back_at)
        stand.cancel(job)
    return waits


def _flush(stand: Stand, _rng: random.Random) -> float:
    at = time.time()
    stand.flush_broker()
    return at


def _restart(stand: Stand, rng: random.Random) -> float:
    at = time.time()
    stand.kill_broker()
    time.sleep(rng.uniform(0.0, 2.0))
    stand.start_broker()
    return at


FAULTS = {"flushed": _flush, "restarted": _restart}


def _lose_a_message(stand: Stand, worker: subprocess.Popen[bytes]) -> str:
    """Ask for a job while the worker is stopped: its message waits in the broker."""
    os.kill(worker.pid, signal.SIGSTOP)
    while True:  # the first may go to a worker that had asked for it before it was stopped
        job, until = stand.submit(), time.monotonic() + 0.5
        while time.monotonic() < until:
            if stand.messages():
                return job
            time.sleep(0.01)


def _insist(stand: Stand) -> tuple[str, float]:
    """Ask for one job until it is taken; return its id, and when it was (wall clock)."""
    document = digits_job(stand.dataset_id)
    status, _, job = stand.api.insist("POST", "/v1/jobs", document, within_s=FOREVER_S)
    assert status == 202, job
    return job["id"], time.time()
