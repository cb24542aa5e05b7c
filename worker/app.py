"""The worker process: slots, a doorbell, and the rounds that need no doorbell."""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING

from celery.worker import WorkController
from celery.worker import state as celery_state

from service import faults
from service.actions import workers
from service.actions.recovery import Recovery, reap_worker
from service.broker.app import TRAIN_JOB, make_celery
from service.broker.bell import Bell
from service.errors import UnavailableError
from service.store import schema
from service.store.database import Database
from worker.dispatch import Dispatch
from worker.rounds import Rounds
from worker.supervisor import Supervisor

if TYPE_CHECKING:
    from celery import Celery

    from service.settings import Settings
    from service.store.database import UnitOfWork

__all__ = ["Worker"]

log = logging.getLogger(__name__)

WATCH_S = 0.5
RECOVER_S = 1.0
BUSY_POLL_S = 0.25  # once a job was found, or all slots are busy: the next may be waiting
RELEASE_S = 4.0  # for the last units of all slots
LEAVE_S = 1.0  # for what has nothing to lose
RETRY_SHARE = 0.7  # of the TTL: how long a write is tried before the attempt is given up


class Worker:
    """Everything of one worker process.

    ``worker_id``: given by whoever has waited for the last process of that name to end; what that
    left running is taken up at once.
    """

    def __init__(self, settings: Settings, worker_id: str | None = None) -> None:
        self._settings = settings
        self._reaps = worker_id is not None
        self.id = worker_id or f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self._database = Database(settings.database_url, retry_s=RETRY_SHARE * settings.lease_ttl_s)
        self._supervisor = Supervisor(self._database, settings, self.id)
        self._dispatch = Dispatch(
            settings.trainers, self._supervisor.run, self._supervisor.next_queued
        )
        self._celery = make_celery(settings)
        self._bell = Bell(self._celery)
        self._recovery = Recovery(self._database, self._bell.ring, ttl_s=settings.lease_ttl_s)
        self._rounds = Rounds()
        self._registered = False
        self._doorbell = threading.Thread(target=self._listen, name="doorbell", daemon=True)

    def start(self) -> None:
        """Start working.  Neither the database nor Redis need be there yet."""
        self._rounds.start("beat", self._beat)
        self._rounds.start("watch", self._watch)
        self._rounds.start("poll", self._poll)
        self._rounds.start("recovery", self._recover)
        if self._settings.redis_url is not None:  # else the poller runs every job
            self._doorbell.start()

    def stop(self) -> None:
        """Give running jobs back with their last unit, and end; a few seconds at most."""
        # An exit code: the consumer leaves at its next look.
        celery_state.should_stop = 0  # type: ignore[assignment]
        self._supervisor.release()
        if not self._dispatch.stop(RELEASE_S):
            log.warning("a slot did not end in time; its job is taken up when its lease is over")
        self._rounds.stop(LEAVE_S)
        if self._doorbell.is_alive():
            self._doorbell.join(LEAVE_S)  # it may be waiting for a broker that is not there
        self._bell.close()
        self._database.retry_s = LEAVE_S
        self._unregister()
        self._database.dispose()

    def _watch(self) -> float:
        self._supervisor.watch()
        return WATCH_S

    def _beat(self) -> float:
        """Say that this worker is there; the slots open once it is known, on the right schema."""
        if self._registered:
            self._database.transact(lambda uow: workers.beat(uow, self.id))
            return self._settings.heartbeat_s
        schema.check(self._database)
        if self._reaps:  # before this process owns attempts under the same name
            reap_worker(self._database, self.id)
            self._reaps = False
        self._database.transact(self._register)
        self._registered = True
        self._dispatch.start()
        return self._settings.heartbeat_s

    def _register(self, uow: UnitOfWork) -> None:
        info = {"host": socket.gethostname(), "pid": os.getpid()}
        workers.register(uow, self.id, trainers=self._settings.trainers, info=info)

    def _unregister(self) -> None:
        try:
            self._database.transact(lambda uow: workers.unregister(uow, self.id))
        except UnavailableError:
            log.info("the database is away: this worker is forgotten in a while")

    def _poll(self) -> float:
        if self._dispatch.poll() or not self._dispatch.free:
            return BUSY_POLL_S  # a look that finds no free slot asks nobody
        return self._settings.poll_s * random.uniform(0.9, 1.1)  # noqa: S311 workers apart, no secret

    def _recover(self) -> float:
        self._recovery.tick()
        return RECOVER_S

    def _listen(self) -> None:
        """Consume the doorbell, with a new consumer should one end before the worker does."""

        @self._celery.task(name=TRAIN_JOB, ignore_result=True)
        def train_job(job_id: str) -> None:
            faults.reach("rung")
            self._dispatch.offer(job_id)

        while celery_state.should_stop is None:
            try:
                _consumer(self._celery, self.id).start()
            except Exception:  # the poller runs the jobs meanwhile
                log.exception("the doorbell failed; it starts again")
            time.sleep(LEAVE_S)


def _consumer(celery: Celery, worker_id: str) -> WorkController:
    """Return a Celery worker whose only task takes microseconds; it must be run in one thread."""
    return WorkController(
        app=celery,
        hostname=f"{worker_id}@{socket.gethostname()}",
        pool_cls="threads",
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel=logging.WARNING,
    )
