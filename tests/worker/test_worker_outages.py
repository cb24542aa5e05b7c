"""A worker cut off from its database (F18), beside a locked one (F20), or short of processes (F21).

Real trainers under supervisors in this process, with short leases.
"""

import errno
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pysqlite3.dbapi2
import pytest
from sqlalchemy import make_url, select

from service.actions.recovery import Recovery
from service.store.database import Database
from service.store.tables import Job
from tests import training_jobs
from tests.proxy import StallingProxy
from tests.waiting import eventually
from worker.attempt import Attempt

pytestmark = pytest.mark.timeout(240)
sqlite, postgresql = (
    pytest.mark.parametrize("database_url", [name], indirect=True)
    for name in ("sqlite", "postgresql")
)
LEASE_S = 2.0


@pytest.fixture
def cut_off(database_url):
    """The same database through a proxy that can fall silent.

    Ask for it before what works on it, which is then over first.
    """
    url = make_url(database_url)
    proxy = StallingProxy(url.host, url.port or 5432)
    address = url.set(host="127.0.0.1", port=proxy.port)
    store = Database(address.render_as_string(hide_password=False))
    yield store, proxy
    store.dispose()
    proxy.close()


def progress(database, job_id, *, beyond):
    return eventually(lambda: (job := training_jobs.read(database, job_id)).step > beyond and job)


@postgresql
def test_a_worker_that_hears_no_more_from_the_database_stops_and_another_takes_over(
    cut_off, new_slots, database
):
    """Whoever is cut off stops before its lease is over; what it says later changes nothing."""
    store, proxy = cut_off
    timing = {"heartbeat_s": 0.2, "lease_ttl_s": LEASE_S}
    lonely = new_slots(through=store, **timing)
    other = new_slots(**timing)
    job_id = training_jobs.submit_slow(database)
    lonely.begin(job_id)
    progress(database, job_id, beyond=0)
    trainer = lonely.trainer
    recovery = Recovery(database, other.begin, ttl_s=LEASE_S)
    recovery.tick()
    proxy.stall()

    def is_reaped():
        lonely.supervisor.watch()  # as a round of its worker does
        with suppress(subprocess.TimeoutExpired):
            trainer._process.wait(0.05)
        stopped = not trainer.alive
        recovery.tick()
        reaped = training_jobs.read(database, job_id).state == "queued"
        assert stopped or not reaped, "it stops before anybody else may take its job"
        return reaped

    eventually(is_reaped)
    recovery.tick()  # rings: the other one has a free slot
    eventually(lambda: training_jobs.read(database, job_id).attempt == 2)
    step = training_jobs.read(database, job_id).step
    proxy.heal()
    eventually(lambda: lonely.trainer is None)
    job = progress(database, job_id, beyond=step)
    assert (job.attempt, job.crashes) == (2, 0)
    training_jobs.check_units(database, job_id)
    training_jobs.cancel(database, job_id)


@sqlite
def test_a_locked_database_and_a_long_reader_cost_no_unit(slots, database, database_url):
    job_id = training_jobs.submit_slow(database)
    slots.begin(job_id)
    progress(database, job_id, beyond=0)
    locker = pysqlite3.dbapi2.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    with database.read() as reader:
        seen = reader.scalar(select(Job.step).where(Job.id == job_id))
        locker.execute("BEGIN IMMEDIATE")
        step = training_jobs.read(database, job_id).step
        threading.Event().wait(3.0)
        assert training_jobs.read(database, job_id).step == step, "nobody else may write"
        locker.execute("ROLLBACK")
        job = progress(database, job_id, beyond=step)
        assert reader.scalar(select(Job.step).where(Job.id == job_id)) == seen
    locker.close()
    assert (job.state, job.attempt, job.crashes) == ("running", 1, 0)
    training_jobs.check_units(database, job_id)
    training_jobs.cancel(database, job_id)


@sqlite
def test_a_job_that_the_machine_has_no_process_for_waits_uncounted(slots, database, monkeypatch):
    monkeypatch.setattr(Attempt, "full_hold_s", 0.1)
    job_id = training_jobs.submit_digits(database, epochs=1)

    def none_left():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    assert slots.supervisor.run(job_id, none_left)
    job = training_jobs.read(database, job_id)
    assert (job.state, job.attempt, job.crashes) == ("queued", 1, 0)
    job = slots.run(job_id)
    assert (job.state, job.attempt, job.crashes) == ("succeeded", 2, 0)


@sqlite
def test_a_job_whose_data_cannot_be_opened_for_want_of_descriptors_waits_uncounted(
    slots, database, monkeypatch
):
    monkeypatch.setattr(Attempt, "full_hold_s", 0.1)
    job_id = training_jobs.submit_digits(database, epochs=1)
    cache = slots.supervisor._cache
    slots.supervisor._cache = NoDescriptors()
    slots.begin(job_id)
    eventually(lambda: training_jobs.history(database, job_id) == ["queued", "running", "queued"])
    slots.supervisor._cache = cache
    job = slots.end_of(job_id)
    assert (job.state, job.attempt, job.crashes) == ("succeeded", 2, 0)


@sqlite
def test_a_failure_of_ours_in_the_trainer_is_counted_and_tried_again(slots, database):
    job_id = training_jobs.submit_digits(database, epochs=1)
    cache = slots.supervisor._cache
    slots.supervisor._cache = Emptied()
    slots.begin(job_id)
    eventually(lambda: training_jobs.history(database, job_id) == ["queued", "running", "queued"])
    slots.supervisor._cache = cache
    job = slots.end_of(job_id)
    assert (job.state, job.error, job.attempt) == ("succeeded", None, 2)
    (reason,) = [d for d in training_jobs.details(database, job_id) if "code" in d]
    assert reason["code"] == "internal"
    assert "FileNotFoundError" in reason["detail"]


class Emptied:
    """A cache whose file goes before the trainer has opened it."""

    def fetch(self, *_):
        return Path("/proc/gone")


class NoDescriptors:
    """A cache that can open nothing."""

    def fetch(self, *_):
        raise OSError(errno.EMFILE, "Too many open files")


@sqlite
def test_a_trainer_that_its_own_worker_killed_for_want_of_a_database_is_no_crash(slots, database):
    job_id = training_jobs.submit_slow(database)
    slots.begin(job_id)
    progress(database, job_id, beyond=0)
    (attempt,) = slots.supervisor._attempts
    clock, watching = attempt._clock, threading.current_thread()
    late_s = 1e6  # for who watches only: the attempt's own thread is as one that slept
    attempt._clock = lambda: clock() + late_s * (threading.current_thread() is watching)
    slots.supervisor.watch()
    given_back = ["queued", "running", "queued"]  # and claimed again, at once
    eventually(lambda: training_jobs.history(database, job_id)[:3] == given_back)
    assert training_jobs.read(database, job_id).crashes == 0
    assert not any(detail.get("code") for detail in training_jobs.details(database, job_id))
