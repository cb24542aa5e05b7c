import queue
import threading

import pytest

from tests.waiting import eventually
from worker.dispatch import Dispatch


class Jobs:
    """Stands in for the supervisor: jobs that last until they are let go."""

    def __init__(self, queued=()):
        self.queued = list(queued)
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.go_on = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.claimable = True

    def run(self, job_id, take):
        with self.lock:
            if job_id in self.queued:
                self.queued.remove(job_id)
        if not self.claimable:
            return False
        self.begun.put(job_id)
        assert self.go_on.acquire(timeout=60)
        if job_id == "job_bad":
            raise RuntimeError("bad job")
        return True

    def next_queued(self):
        with self.lock:
            return self.queued[0] if self.queued else None


@pytest.fixture
def started():
    running = []

    def start(jobs, slots=1):
        dispatch = Dispatch(slots, jobs.run, jobs.next_queued)
        dispatch.start()
        running.append((dispatch, jobs))
        eventually(lambda: dispatch.free == slots)
        return dispatch

    yield start
    for dispatch, jobs in running:
        for _ in range(10):
            jobs.go_on.release()
        assert dispatch.stop(30)


def test_an_offered_job_runs_in_a_free_slot(started):
    jobs = Jobs()
    started(jobs).offer("job_a")
    assert jobs.begun.get(timeout=30) == "job_a"


def test_an_offer_is_dropped_when_all_slots_are_busy(started):
    jobs = Jobs()
    dispatch = started(jobs)
    dispatch.offer("job_a")
    assert jobs.begun.get(timeout=30) == "job_a"
    dispatch.offer("job_b")
    jobs.go_on.release()
    eventually(lambda: dispatch.free == 1)
    assert jobs.begun.empty()


def test_the_same_job_offered_twice_takes_one_slot(started):
    jobs = Jobs()
    dispatch = started(jobs, slots=2)
    with dispatch._changed:  # no slot can look up in between
        dispatch.offer("job_a")
        dispatch.offer("job_a")
        assert dispatch.free == 1


def test_a_slot_looks_for_the_next_job_by_itself(started):
    jobs = Jobs(queued=["job_b", "job_c"])
    started(jobs).offer("job_a")
    for name in ("job_a", "job_b", "job_c"):
        assert jobs.begun.get(timeout=30) == name
        jobs.go_on.release()


def test_a_job_that_cannot_be_claimed_does_not_keep_a_slot_busy(started):
    jobs = Jobs(queued=["job_a"])
    jobs.claimable = False
    dispatch = started(jobs)
    dispatch.offer("job_x")
    eventually(lambda: dispatch.free == 1 and not dispatch._hints)
    jobs.claimable = True
    assert dispatch.poll()
    assert jobs.begun.get(timeout=30) == "job_a"


def test_polling_finds_nothing_when_nothing_waits_or_no_slot_is_free(started):
    jobs = Jobs()
    dispatch = started(jobs)
    assert not dispatch.poll()
    dispatch.offer("job_a")
    assert jobs.begun.get(timeout=30) == "job_a"
    jobs.queued.append("job_b")
    assert not dispatch.poll()


def test_a_slot_outlives_a_job_that_raises(started, caplog):
    jobs = Jobs()
    dispatch = started(jobs)
    dispatch.offer("job_bad")
    assert jobs.begun.get(timeout=30) == "job_bad"
    jobs.go_on.release()
    eventually(lambda: dispatch.free == 1)
    assert "a slot failed" in caplog.text
    dispatch.offer("job_a")
    assert jobs.begun.get(timeout=30) == "job_a"


def test_nothing_is_claimed_after_the_stop(started):
    jobs = Jobs(queued=["job_b"])
    dispatch = started(jobs)
    dispatch.offer("job_a")
    assert jobs.begun.get(timeout=30) == "job_a"
    stopper = threading.Thread(target=dispatch.stop, args=(30,))
    stopper.start()
    eventually(lambda: dispatch._stopping)
    jobs.go_on.release()
    stopper.join(30)
    assert not stopper.is_alive()
    assert jobs.queued == ["job_b"]
