"""The bell: tells the workers of a job, later and perhaps, so that nobody waits for the broker."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

from service import faults
from service.broker.app import TRAIN_JOB
from service.errors import UnavailableError

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["Bell"]

log = logging.getLogger(__name__)

WAITING = 1000


class Bell:
    """One thread publishes; a ring that does not get through is dropped: recovery rings again."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._jobs: queue.Queue[str | None] = queue.Queue(WAITING)
        self._closing = threading.Event()
        self._silent = False  # whether the last ring failed: one line per outage, not per job
        self._thread = threading.Thread(target=self._publish, name="bell", daemon=True)
        self._thread.start()

    def ring(self, job_id: str) -> None:
        """Have the workers told of a job.  Returns at once, whatever the broker does."""
        try:
            self._jobs.put_nowait(job_id)
        except queue.Full:
            log.warning("the bell is behind: job %s is rung by recovery", job_id)

    def ping(self) -> None:
        """Ask the broker for an answer.  Raises: UnavailableError."""
        try:
            with self._celery.connection_for_write() as connection:
                channel: Any = connection.default_channel
                channel.client.ping()
        except Exception as error:  # kombu, redis and the socket each have their own
            raise UnavailableError("the broker does not answer") from error

    def close(self, timeout_s: float = 1.0) -> None:
        """Publish what is waiting, as far as the time allows, and stop."""
        self._closing.set()
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)  # wakes the thread
        self._thread.join(timeout_s)

    def _publish(self) -> None:
        # Once closing, what is waiting is still told, unless there is nobody to tell.
        while not self._closing.is_set() or not (self._silent or self._jobs.empty()):
            job_id = self._jobs.get()
            if job_id is not None:
                self._send(job_id)

    def _send(self, job_id: str) -> None:
        try:
            faults.reach("publish")
            self._celery.send_task(TRAIN_JOB, args=(job_id,))
            faults.reach("published")
        except Exception as error:  # a ring is a hint: its loss costs seconds
            if not self._silent:
                log.warning("the broker does not answer: %s", type(error).__name__)
            self._silent = True
        else:
            self._silent = False
