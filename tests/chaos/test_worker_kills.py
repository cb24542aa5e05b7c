"""Worker processes that are killed, stopped and told to end, on both engines."""

import os
import signal
import time

import pytest

from tests import training_jobs
from tests.processes import group, parent
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
# What takes long and does not depend on the engine is shown on one.
sqlite, postgresql = (
    pytest.mark.parametrize("database_url", [name], indirect=True)
    for name in ("sqlite", "postgresql")
)


def submit(database):
    return training_jobs.submit_slow(database, epochs=training_jobs.FEW_EPOCHS)


def wait_for_progress(database, job_id, *, beyond=0):
    return eventually(lambda: (job := training_jobs.read(database, job_id)).step > beyond and job)


def check_same_bits(database, job_id, undisturbed):
    eventually(lambda: training_jobs.is_final(database, job_id))
    job = training_jobs.read(database, job_id)
    assert (job.state, job.error) == ("succeeded", None)
    training_jobs.check_units(database, job_id)
    model, bundle = training_jobs.model(database, job_id)
    assert (model.weights_sha256, bundle, training_jobs.epochs(database, job_id)) == undisturbed


def test_a_killed_worker_leaves_no_orphan_and_its_successor_ends_the_job_with_the_same_bits(
    new_worker, database, undisturbed
):
    job_id = submit(database)
    worker = new_worker("--id", "w1")
    job = wait_for_progress(database, job_id)
    for _ in range(2):
        worker.kill()  # waits until nothing of its group is left
        assert training_jobs.read(database, job_id).state == "running"
        worker = new_worker("--id", "w1")
        job = wait_for_progress(database, job_id, beyond=job.step)
    check_same_bits(database, job_id, undisturbed)
    assert training_jobs.read(database, job_id).attempt == 3


@postgresql
def test_another_worker_takes_over_when_the_lease_is_over(new_worker, database, undisturbed):
    job_id = submit(database)
    first = new_worker(name="first")
    wait_for_progress(database, job_id)
    new_worker(name="second")
    first.kill()
    killed_at = time.monotonic()
    eventually(lambda: training_jobs.read(database, job_id).attempt == 2)
    assert time.monotonic() - killed_at > 5, "not before the lease of 15 s may be over"
    check_same_bits(database, job_id, undisturbed)


def test_a_worker_told_to_end_gives_its_job_back_uncounted(new_worker, database, undisturbed):
    job_id = submit(database)
    first = new_worker()
    wait_for_progress(database, job_id)
    asked_at = time.monotonic()
    os.kill(first.pid, signal.SIGTERM)
    assert first.process.wait(60) == 0, first.log.read_text()
    assert time.monotonic() - asked_at < 10
    assert group(first.pid) == {}
    job = training_jobs.read(database, job_id)
    assert (job.state, job.crashes) == ("queued", 0)
    new_worker(name="second")
    check_same_bits(database, job_id, undisturbed)
    job = training_jobs.read(database, job_id)
    assert (job.attempt, job.crashes) == (2, 0)


@sqlite
def test_a_signal_to_the_whole_group_kills_no_trainer(new_worker, database):
    job_id = training_jobs.submit_slow(database)
    worker = new_worker()
    wait_for_progress(database, job_id)
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.process.wait(60) == 0, worker.log.read_text()
    job = training_jobs.read(database, job_id)
    assert (job.state, job.crashes, job.attempt) == ("queued", 0, 1)
    assert not any(d.get("code") for d in training_jobs.details(database, job_id))


@sqlite
def test_a_second_signal_ends_a_worker_at_once(new_worker, database):
    job_id = training_jobs.submit_slow(database)
    worker = new_worker()
    wait_for_progress(database, job_id)
    os.killpg(worker.pid, signal.SIGSTOP)  # nothing can be answered: the end takes its time
    os.kill(worker.pid, signal.SIGTERM)
    os.kill(worker.pid, signal.SIGCONT)
    time.sleep(1.5)
    os.kill(worker.pid, signal.SIGTERM)
    # It may be leaving by itself by then, and Python in its last moments has no handlers any more.
    assert worker.process.wait(60) in {0, 128 + signal.SIGTERM, -signal.SIGTERM}
    eventually(lambda: not group(worker.pid), within_s=20)


@postgresql
def test_a_worker_that_slept_past_its_lease_writes_nothing_afterwards(new_worker, database):
    job_id = training_jobs.submit_slow(database)
    sleeper = new_worker(name="sleeper")
    wait_for_progress(database, job_id)
    new_worker(name="other")
    os.killpg(sleeper.pid, signal.SIGSTOP)
    eventually(lambda: training_jobs.read(database, job_id).attempt == 2)
    step = training_jobs.read(database, job_id).step
    wait_for_progress(database, job_id, beyond=step)
    trainers = sleeper.trainers()
    os.killpg(sleeper.pid, signal.SIGCONT)
    eventually(lambda: not set(trainers) & set(sleeper.trainers()))
    wait_for_progress(database, job_id, beyond=training_jobs.read(database, job_id).step)
    assert training_jobs.read(database, job_id).attempt == 2
    training_jobs.check_units(database, job_id)


def test_jobs_run_without_redis_from_the_start_and_the_worker_ends_cleanly(new_worker, database):
    worker = new_worker(redis_url="redis://127.0.0.1:1/0")
    dataset = training_jobs.store(database, *training_jobs.digits())
    ids = [training_jobs.submit(database, dataset, epochs=2, seed=seed) for seed in range(3)]
    for job_id in ids:
        eventually(lambda job_id=job_id: training_jobs.is_final(database, job_id))
        assert training_jobs.read(database, job_id).state == "succeeded"
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.process.wait(60) == 0, worker.log.read_text()


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "its trainer killed"])
def test_a_job_paused_and_resumed_ends_with_the_same_bits(new_worker, database, undisturbed, kill):
    """T13, T7 or T8 with pause=1, T14: what was learnt is kept, whichever way it came to rest."""
    job_id = submit(database)
    worker = new_worker()
    for _ in range(2):
        step = training_jobs.read(database, job_id).step
        wait_for_progress(database, job_id, beyond=step)
        training_jobs.pause(database, job_id)
        if kill:
            for trainer in worker.trainers():
                os.kill(trainer, signal.SIGKILL)
        eventually(lambda: training_jobs.read(database, job_id).state == "paused")
        rests_at = training_jobs.read(database, job_id).step
        time.sleep(1.0)
        assert training_jobs.read(database, job_id).step == rests_at
        training_jobs.resume(database, job_id)
    check_same_bits(database, job_id, undisturbed)
    assert training_jobs.history(database, job_id).count("paused") == 2


@sqlite
def test_a_trainer_dies_with_its_worker_even_when_it_computes(new_worker, database):
    job_id = training_jobs.submit_slow(database)
    worker = new_worker(trainers=2)
    wait_for_progress(database, job_id)
    trainers = eventually(lambda: len(found := worker.trainers()) == 2 and found)
    assert {parent(pid) for pid in trainers} == {worker.pid}
    worker.kill()
    eventually(lambda: not any(parent(pid) for pid in trainers), within_s=20)
