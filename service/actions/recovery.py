"""Recovery: end attempts whose worker is gone, and ring again for jobs that nobody took.

Any number of processes run it; each change is a compare-and-set. Time is this process's monotonic
clock alone, so a wall clock may jump; a process that just started waits one whole lease.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.actions import once, uploads
from service.store import blobs, transitions
from service.store.tables import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.store.database import Database

__all__ = ["Recovery", "reap_worker"]

log = logging.getLogger(__name__)

COLLECT_S = 600.0
RUNNING = select(Job.id, Job.attempt, Job.hb).where(Job.state == "running")


class Recovery:
    """One process's watch over all running and queued jobs.  ``tick`` it about every second."""

    def __init__(
        self,
        database: Database,
        ring: Callable[[str], object],
        *,
        ttl_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._ring = ring
        self._ttl_s = ttl_s
        self._clock = clock
        self._seen: dict[tuple[str, int, int], float] = {}  # (job, attempt, hb) -> first seen at
        self._collected_at = clock()

    def tick(self) -> None:
        """Look once.  Raises: UnavailableError, if the database does not answer."""
        self._reap()
        for job_id in self._database.transact(
            lambda uow: transitions.due_for_ring(uow.session, time.time())
        ):
            self._ring(job_id)
        if self._clock() - self._collected_at >= COLLECT_S:
            self._collected_at = self._clock()
            uploads.purge(self._database)
            blobs.collect(self._database)
            once.purge(self._database)

    def _reap(self) -> None:
        with self._database.read() as session:
            rows = [(row.id, row.attempt, row.hb) for row in session.execute(RUNNING)]
        now = self._clock()
        self._seen = {row: self._seen.get(row, now) for row in rows}
        for row, since in self._seen.items():
            if now - since >= self._ttl_s:
                _reap(self._database, row)


def reap_worker(database: Database, worker_id: str) -> list[str]:
    """End the attempts of a worker whose process is known to have ended.  Returns: their jobs."""
    with database.read() as session:
        owned = (Job.state == "running", Job.owner.startswith(f"{worker_id}:", autoescape=True))
        found = session.execute(select(Job.id, Job.attempt, Job.hb).where(*owned)).all()
    rows = [(row.id, row.attempt, row.hb) for row in found]
    return [row[0] for row in rows if _reap(database, row)]


def _reap(database: Database, row: tuple[str, int, int]) -> str | None:
    state = database.transact(lambda uow: transitions.reap(uow.session, *row))
    if state is not None:
        log.warning("job %s: attempt %d was lost, the job is %s", row[0], row[1], state)
    return state
