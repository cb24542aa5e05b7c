"""Jobs that begin with the weights of others, with real trainers: the same bits, come what may."""

import os
import signal

import pytest

import chainrule
from chainrule.checkpoint import Checkpoint
from service.actions import warm_starts
from tests import training_jobs
from tests.waiting import eventually
from tests.worker.test_worker_supervisor import begun, flip_byte, new_trainer

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def source(slots, database):
    """A job that has ended, of the network that submit_slow and submit_warm train."""
    job = slots.run(training_jobs.submit_slow(database, epochs=1))
    assert job.state == "succeeded"
    return job


def ended_as(database, job_id, wanted):
    job = training_jobs.read(database, job_id)
    assert (job.state, job.error) == ("succeeded", None)
    training_jobs.check_units(database, job_id)
    model, bundle = training_jobs.model(database, job_id)
    return (model.weights_sha256, bundle, training_jobs.epochs(database, job_id)) == wanted


def pinned(database, job_id):
    with database.read() as session:
        return warm_starts.find(session, job_id).blob


def test_a_killed_trainer_costs_a_job_with_a_warm_start_no_bit(
    slots, database, source, undisturbed_warm
):
    job_id = training_jobs.submit_warm(database, {"model_id": source.model_id})
    slots.begin(job_id)
    first = new_trainer(slots)
    os.kill(first.pid, signal.SIGKILL)  # before or after it had the weights: the same
    trainer = new_trainer(slots, first.pid)
    step = training_jobs.read(database, job_id).step
    eventually(lambda: training_jobs.read(database, job_id).step > step)
    os.kill(trainer.pid, signal.SIGKILL)
    assert slots.end_of(job_id).attempt == 3
    assert ended_as(database, job_id, undisturbed_warm)


def test_a_job_that_lost_all_of_its_checkpoints_begins_again_with_the_same_weights(
    new_slots, database, slots, source, undisturbed_warm
):
    job_id = training_jobs.submit_warm(database, {"model_id": source.model_id})
    begun(slots, job_id, epoch=2)
    slots.stop()
    for kept in training_jobs.checkpoints(database, job_id):
        flip_byte(database, kept.blob)
    new_slots().run(job_id)
    assert ended_as(database, job_id, undisturbed_warm)


def test_the_first_checkpoint_holds_the_weights_of_the_source(slots, database, source):
    kept = training_jobs.checkpoints(database, source.id)
    theirs = Checkpoint.from_bytes(training_jobs.checkpoint(database, source.id, kept[-1].step))
    for wanted in ({"job_id": source.id, "step": kept[-1].step}, {"model_id": source.model_id}):
        job_id = training_jobs.submit_slow(database, warm_start=wanted, seed=9)
        slots.begin(job_id)
        eventually(lambda job_id=job_id: training_jobs.checkpoints(database, job_id))
        mine = Checkpoint.from_bytes(training_jobs.checkpoint(database, job_id, 0))
        assert (mine.parameters == theirs.parameters).all()
        assert all((mine.slots[name] == 0).all() for name in mine.slots)
        training_jobs.cancel(database, job_id)
        slots.end_of(job_id)
    model = chainrule.load(training_jobs.model(database, source.id)[1])
    assert (model.network.flat == theirs.parameters).all()


def test_a_job_whose_source_is_damaged_fails_and_says_so(slots, database, source):
    job_id = training_jobs.submit_warm(database, {"model_id": source.model_id})
    flip_byte(database, pinned(database, job_id))
    job = slots.run(job_id)
    assert (job.state, job.error["code"]) == ("failed", "data_corrupt")
    assert pinned(database, job_id)[:12] in job.error["detail"]
