"""The slots of a worker: each with a lasting thread, a waiting trainer, and at most one job."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from worker.spare import Spare

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.process import TrainerProcess

    Run = Callable[[str, Callable[[], TrainerProcess]], bool]

__all__ = ["Dispatch"]

log = logging.getLogger(__name__)


class Dispatch:
    """Gives jobs to free slots.

    ``run(job_id, take)`` makes one attempt and says whether the job could be claimed; it takes, and
    ends, the slot's trainer only then.  ``next_queued()`` names a job that waits, or None.
    """

    def __init__(self, slots: int, run: Run, next_queued: Callable[[], str | None]) -> None:
        self._run = run
        self._next_queued = next_queued
        self._changed = threading.Condition()
        self._hints: deque[str] = deque()
        self._free = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._slot, name=f"slot-{number}", daemon=True)
            for number in range(slots)
        ]

    def start(self) -> None:
        """Start the slots."""
        for thread in self._threads:
            thread.start()

    def offer(self, job_id: str) -> None:
        """Wake a free slot with this job.  Never waits; with no slot free the job stays queued."""
        with self._changed:
            if len(self._hints) < self._free and job_id not in self._hints:
                self._hints.append(job_id)
                self._changed.notify()

    def poll(self) -> bool:
        """Look for a queued job, if a slot is free: what runs jobs when no bell rings.

        Returns: whether there was one, so that there may be more.
        """
        if not self.free or (job_id := self._next_queued()) is None:
            return False
        self.offer(job_id)
        return True

    @property
    def free(self) -> int:
        """How many slots wait for a job."""
        with self._changed:
            return self._free - len(self._hints)

    def stop(self, timeout_s: float) -> bool:
        """Claim nothing more, and wait for the slots; return whether all have ended.

        The attempts under way are told by whoever owns ``run``.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + timeout_s
        started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in started)

    def _slot(self) -> None:
        """Live as long as the process: the kernel kills the trainers of a thread that ends."""
        spare = Spare()
        while not self._stopping:
            try:
                spare.prepare()
                job_id = self._wait()
                # After a job, look at once whether another waits: its bell may have rung in vain.
                while job_id and not self._stopping:
                    claimed = self._run(job_id, spare.take)
                    spare.prepare()
                    job_id = self._next_queued() if claimed else None
            except Exception:  # a slot outlives whatever befalls a job
                log.exception("a slot failed; it goes on")
                self._pause(1.0)
        spare.discard()

    def _wait(self) -> str | None:
        """Wait for a hint; None when the worker ends."""
        with self._changed:
            self._free += 1
            try:
                self._changed.wait_for(lambda: self._stopping or self._hints)
                return self._hints.popleft() if self._hints and not self._stopping else None
            finally:
                self._free -= 1

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)
