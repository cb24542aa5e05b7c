"""A trainer killed; a whole worker host killed."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.recovery.stand import ENDLESS, Stand, repeated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["host", "trainer"]

VICTIMS = 3  # hosts that die one after the other, so that their leases run out side by side


def trainer(folder: Path, repeat: int, tell: Callable[[str], None]) -> dict[str, list[float]]:
    """Kill the trainer of one endless job again and again, at any point of its work.

    Returns: the seconds from each kill to the first unit that the next attempt has learnt.
    """
    rng, waits = random.Random(1), []
    with ExitStack() as stack:
        stand = Stand(stack, folder)
        worker = stand.start_worker("worker")
        job = stand.submit(epochs=ENDLESS)
        attempt = 0
        for _ in repeated(repeat, tell, "trainers killed"):
            stand.learning_since(job, attempt + 1)
            attempt = stand.attempt(job)
            time.sleep(rng.uniform(0.0, 1.0))
            killed_at = stand.kill_trainer(worker)
            waits.append(stand.learning_since(job, attempt + 1) - killed_at)
        stand.cancel(job)
    return {"trainer killed": waits}


def host(folder: Path, repeat: int, tell: Callable[[str], None]) -> dict[str, list[float]]:
    """Kill workers with all that belongs to them, while another worker has nothing to do.

    Returns: the seconds from each kill to the first unit learnt elsewhere.
    """
    rng, waits = random.Random(2), []
    rounds = -(-repeat // VICTIMS)
    with ExitStack() as stack:
        stand = Stand(stack, folder)
        for number in repeated(rounds, tell, f"rounds of {VICTIMS} hosts killed"):
            victims = [stand.start_worker(f"victim-{number}-{n}") for n in range(VICTIMS)]
            jobs = [stand.submit(epochs=ENDLESS) for _ in victims]
            for job in jobs:
                stand.learning_since(job, 1)
            heir = stand.start_worker(f"heir-{number}", trainers=VICTIMS)
            killed_at = []
            for victim in victims:
                time.sleep(rng.uniform(0.0, 2.0))
                killed_at.append(stand.kill_host(victim))
            for job in jobs:
                at = killed_at[[victim.pid for victim in victims].index(stand.owner(job))]
                waits.append(stand.learning_since(job, 2) - at)
            for job in jobs:
                stand.cancel(job)
            stand.stop_worker(heir)
    return {"worker host killed": waits}
