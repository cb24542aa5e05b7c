"""Jobs that are the death of every trainer: three times, with the reason, beside others (F15)."""

import os
import secrets
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import training_jobs
from tests.waiting import eventually
from worker.dispatch import Dispatch
from worker.supervisor import Supervisor

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
CGROUPS = Path("/sys/fs/cgroup/memory")


class TwoSlots:
    """One supervisor with two slots, and trainers of their own."""

    def __init__(self, database, settings):
        self.database = database
        self.supervisor = Supervisor(database, settings, "test")
        self.dispatch = Dispatch(2, self.supervisor.run, self.supervisor.next_queued)
        self.dispatch.start()
        eventually(lambda: self.dispatch.free == 2)

    def trainer_of(self, job_id):
        """The trainer that has a job under way, or None."""
        for attempt in list(self.supervisor._attempts):
            if attempt._claim.job_id == job_id:
                return attempt._trainer
        return None

    def strike(self, job_id, *blows):
        """Strike each trainer that takes a job, as often as there are blows; wait for the end."""
        seen, left = set(), list(blows)
        while not training_jobs.is_final(self.database, job_id):
            self.dispatch.poll()  # a job that waits after a crash
            trainer = self.trainer_of(job_id)
            if trainer and trainer.pid not in seen and left:
                seen.add(trainer.pid)
                left.pop(0)(trainer.pid)
            time.sleep(0.01)
        assert not left
        return training_jobs.read(self.database, job_id)


@pytest.fixture
def slots(database, settings):
    made = TwoSlots(database, settings)
    yield made
    made.supervisor.release()
    assert made.dispatch.stop(30)


def submit_poison(database):
    """A job whose first unit takes longer than any trainer of a test lives."""
    return training_jobs.submit_slow(database, batch_size=1)


def signalling(number):
    return lambda pid: os.kill(pid, number)


def crashes(database, job_id):
    return [d for d in training_jobs.details(database, job_id) if "code" in d]


def test_a_poisonous_job_is_stopped_after_three_crashes_and_its_neighbour_does_not_notice(
    slots, database
):
    neighbour = training_jobs.submit_slow(database)
    slots.dispatch.offer(neighbour)
    eventually(lambda: training_jobs.read(database, neighbour).step)
    poison = submit_poison(database)
    blows = [signalling(n) for n in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)]
    job = slots.strike(poison, *blows)
    assert (job.state, job.attempt, job.crashes) == ("failed", 3, 3)
    assert (job.error["code"], job.error["signal"]) == ("crashed", "SIGBUS")
    told = [crash["signal"] for crash in crashes(database, poison)]
    assert told == ["SIGSEGV", "SIGABRT", "SIGBUS"]
    step = training_jobs.read(database, neighbour).step
    eventually(lambda: training_jobs.read(database, neighbour).step > step)
    assert training_jobs.history(database, neighbour) == ["queued", "running"]
    training_jobs.cancel(database, neighbour)
    eventually(lambda: training_jobs.is_final(database, neighbour))
    training_jobs.check_units(database, neighbour)


def test_a_job_that_hangs_three_times_has_failed_for_it(slots, database):
    slots.supervisor._timing.hung_s = 0.5
    job = slots.strike(submit_poison(database), *3 * [signalling(signal.SIGSTOP)])
    assert (job.state, job.attempt, job.crashes) == ("failed", 3, 3)
    assert job.error["code"] == "hung"
    assert [crash["code"] for crash in crashes(database, job.id)] == 3 * ["hung"]


def test_a_trainer_that_the_system_kills_for_its_memory_is_told_as_such(slots, database):
    with no_memory() as starve:
        job_id = submit_poison(database)
        job = slots.strike(job_id, starve, starve, starve)
    assert (job.state, job.attempt, job.crashes) == ("failed", 3, 3)
    assert job.error["code"] == "out_of_memory"
    assert {crash["code"] for crash in crashes(database, job_id)} == {"out_of_memory"}


@contextmanager
def no_memory():
    """A control group that has the kernel kill whoever in it needs one more page."""
    place = CGROUPS / f"chainrule-test-{secrets.token_hex(6)}"
    try:
        place.mkdir()
        (place / "memory.limit_in_bytes").write_text("65536")
    except OSError as error:
        pytest.skip(f"F15: the kernel's own end of a process needs a memory cgroup (v1): {error}")
    try:
        yield lambda pid: (place / "cgroup.procs").write_text(str(pid))
    finally:
        eventually(lambda: not (place / "cgroup.procs").read_text())
        place.rmdir()
