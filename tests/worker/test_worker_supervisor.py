"""Real trainer processes under a supervisor in this process, on both engines."""

import hashlib
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

import chainrule
from chainrule.checkpoint import Checkpoint
from service import faults
from service.actions import jobs, models
from service.actions.recovery import Recovery
from service.errors import UnavailableError
from tests import training_jobs
from tests.waiting import eventually
from worker.attempt import Attempt

pytestmark = pytest.mark.timeout(240)


def begun(slots, job_id, *, epoch=1):
    """Start a job and return it once so many epochs are committed."""
    slots.begin(job_id)
    return eventually(
        lambda: (job := training_jobs.read(slots.database, job_id)).epoch >= epoch and job
    )


def new_trainer(slots, *seen):
    """The trainer at work that is none of those seen, once there is one."""
    return eventually(lambda: (t := slots.trainer) and t.pid not in seen and t)


def test_a_job_trains_to_its_end_and_leaves_a_model(slots, database):
    job_id = training_jobs.submit_digits(database)
    job = slots.run(job_id)
    assert (job.state, job.error, job.attempt, job.crashes) == ("succeeded", None, 1, 0)
    assert (job.step, job.epoch) == (job.steps, 20)
    assert set(job.metrics) == {"train", "validation", "test"}
    assert job.metrics["test"]["accuracy"] > 0.9
    assert training_jobs.history(database, job_id) == ["queued", "running", "succeeded"]
    training_jobs.check_units(database, job_id)
    assert [row[0] for row in training_jobs.epochs(database, job_id)] == list(range(1, 21))
    model, _ = training_jobs.model(database, job_id)
    with database.read() as session:
        weights = models.download(session, model, "safetensors")
        certificate = jobs.certificate(session, training_jobs.TENANT, job_id)
        bundle = chainrule.load(models.download(session, model))
    assert hashlib.sha256(weights).hexdigest() == model.weights_sha256
    assert certificate["status"] == "passed"
    assert certificate == bundle.manifest["certificate"]
    with database.read() as session:
        report = jobs.evaluation(session, training_jobs.TENANT, job_id)
        assert models.evaluation(session, training_jobs.TENANT, model.id) == report
    assert report == bundle.evaluation
    (output,) = report["outputs"].values()
    assert output["parts"]["test"]["metrics"]["accuracy"]["value"] == pytest.approx(
        job.metrics["test"]["accuracy"]
    )


def test_a_job_that_stops_early_succeeds_with_fewer_steps(slots, database):
    stopping = {"patience": 2}
    job_id = training_jobs.submit_digits(
        database,
        epochs=10_000,
        optimizer={"kind": "adam", "learning_rate": 0.02},
        early_stopping=stopping,
    )
    planned = training_jobs.read(database, job_id).steps
    job = slots.run(job_id)
    assert (job.state, job.error, job.attempt) == ("succeeded", None, 1)
    assert job.step == job.steps < planned
    training_jobs.check_units(database, job_id)
    epochs = training_jobs.epochs(database, job_id)
    _, _, train, validation = min(epochs, key=lambda row: row[3]["loss"])
    assert (job.metrics["train"], job.metrics["validation"]) == (train, validation)


def test_the_first_checkpoint_is_that_of_step_zero(slots, database):
    job_id = training_jobs.submit_slow(database)
    slots.begin(job_id)
    first = eventually(lambda: training_jobs.checkpoints(database, job_id))[0]
    assert first.step == 0
    training_jobs.cancel(database, job_id)
    slots.end_of(job_id)


def test_a_killed_trainer_costs_no_bit(slots, database, undisturbed):
    job_id = training_jobs.submit_slow(database, epochs=training_jobs.FEW_EPOCHS)
    begun(slots, job_id)
    seen: list[int] = []
    for _ in range(2):
        trainer = new_trainer(slots, *seen)
        step = training_jobs.read(database, job_id).step
        eventually(lambda step=step: training_jobs.read(database, job_id).step > step)
        os.kill(trainer.pid, signal.SIGKILL)
        seen.append(trainer.pid)
    job = slots.end_of(job_id)
    assert (job.state, job.attempt, job.crashes) == ("succeeded", 3, 0)
    reasons = [d for d in training_jobs.details(database, job_id) if d.get("code") == "crashed"]
    assert [d["signal"] for d in reasons] == ["SIGKILL"] * 2
    assert [r["committed_by"] for r in training_jobs.receipts(database, job_id)] == [1, 2]
    training_jobs.check_units(database, job_id)
    model, bundle = training_jobs.model(database, job_id)
    assert (model.weights_sha256, bundle, training_jobs.epochs(database, job_id)) == undisturbed


def test_a_cancelled_job_ends_within_half_a_second_and_keeps_its_last_checkpoint(slots, database):
    job_id = training_jobs.submit_slow(database)
    begun(slots, job_id)
    asked_at = time.monotonic()
    training_jobs.cancel(database, job_id)
    eventually(lambda: training_jobs.read(database, job_id).state == "cancelled")
    took_s = time.monotonic() - asked_at
    assert took_s < 1.5, "half a second, where the machine is not shared"
    job = training_jobs.read(database, job_id)
    kept = training_jobs.checkpoints(database, job_id)[-1]
    assert kept.step == job.step
    loaded = Checkpoint.from_bytes(training_jobs.checkpoint(database, job_id, kept.step))
    assert loaded.loop["step"] == job.step


def test_a_released_job_goes_on_with_the_same_bits_and_counts_no_crash(
    new_slots, database, undisturbed
):
    job_id = training_jobs.submit_slow(database, epochs=training_jobs.FEW_EPOCHS)
    first = new_slots()
    begun(first, job_id)
    first.stop()
    job = training_jobs.read(database, job_id)
    assert (job.state, job.crashes, job.owner) == ("queued", 0, None)
    assert training_jobs.checkpoints(database, job_id)[-1].step == job.step
    kept = training_jobs.checkpoints(database, job_id)[-1]
    job = new_slots().run(job_id)
    assert (job.state, job.attempt, job.crashes) == ("succeeded", 2, 0)
    training_jobs.check_units(database, job_id)
    assert training_jobs.receipts(database, job_id) == [
        {"step": kept.step, "sha256": kept.blob, "committed_by": 1, "bit_exact": True}
    ]
    model, bundle = training_jobs.model(database, job_id)
    assert (model.weights_sha256, bundle, training_jobs.epochs(database, job_id)) == undisturbed


def test_a_job_that_diverges_fails_at_once_and_keeps_a_finite_checkpoint(slots, database):
    job_id = training_jobs.submit_slow(
        database, loss="mean_squared_error", optimizer={"kind": "sgd", "learning_rate": 1e6}
    )
    job = slots.run(job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error["code"] == "diverged"
    assert job.error["epoch"] >= 1
    assert job.error["step"] > job.step
    kept = training_jobs.checkpoints(database, job_id)[-1]
    loaded = Checkpoint.from_bytes(training_jobs.checkpoint(database, job_id, kept.step))
    assert abs(loaded.parameters).max() < float("inf")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_nobody_foresaw_in_the_trainer_is_a_crash_and_not_the_end(
    slots, database, monkeypatch
):
    monkeypatch.setattr(faults, "_armed", None)
    faults.arm("say@unit:1:raise")
    job_id = training_jobs.submit_digits(database, epochs=2)
    slots.run(job_id)
    history = training_jobs.history(database, job_id)
    assert history == ["queued", "running", "queued", "running", "succeeded"]
    assert [d["code"] for d in training_jobs.details(database, job_id) if "code" in d] == [
        "internal"
    ]


def test_a_trainer_that_hangs_is_killed_and_the_job_goes_on(slots, database):
    job_id = training_jobs.submit_slow(database)
    begun(slots, job_id)
    trainer = new_trainer(slots)
    usual_s = slots.supervisor._timing.hung_s
    slots.supervisor._timing.hung_s = 4.0  # only now: to begin may take longer
    eventually(lambda: all(a._quiet_s < usual_s for a in slots.supervisor._attempts))
    os.kill(trainer.pid, signal.SIGSTOP)
    new_trainer(slots, trainer.pid)
    slots.supervisor._timing.hung_s = usual_s
    assert "hung" in [d.get("code") for d in training_jobs.details(database, job_id)]
    training_jobs.cancel(database, job_id)
    slots.end_of(job_id)


def test_a_job_that_kills_every_trainer_fails_after_three_crashes(slots, database):
    # An epoch of many seconds: no attempt lives long enough to commit a unit.
    job_id = training_jobs.submit_slow(database, batch_size=1)
    slots.begin(job_id)
    seen = []
    while not training_jobs.is_final(database, job_id):
        slots.dispatch.poll()
        trainer = slots.trainer
        if trainer and trainer.pid not in seen:
            seen.append(trainer.pid)
            os.kill(trainer.pid, signal.SIGKILL)
        time.sleep(0.01)
    job = training_jobs.read(database, job_id)
    assert (job.state, job.attempt, job.crashes) == ("failed", 3, 3)
    assert job.error["code"] == "crashed"
    assert job.error["signal"] == "SIGKILL"


def test_a_job_that_takes_too_long_fails_with_its_deadline_and_keeps_its_checkpoint(
    slots, database
):
    job_id = training_jobs.submit_slow(database, max_seconds=1.0)
    job = slots.run(job_id)
    assert (job.state, job.error["code"]) == ("failed", "deadline")
    assert training_jobs.checkpoints(database, job_id)[-1].step == job.step > 0


def test_a_damaged_checkpoint_is_passed_over_and_its_steps_are_done_again_with_the_same_bits(
    new_slots, database, undisturbed
):
    job_id = training_jobs.submit_slow(database, epochs=training_jobs.FEW_EPOCHS)
    first = new_slots()
    begun(first, job_id, epoch=2)
    first.stop()
    *_, older, newest = training_jobs.checkpoints(database, job_id)
    flip_byte(database, newest.blob)
    job = new_slots().run(job_id)
    assert (job.state, job.error) == ("succeeded", None)
    (receipt,) = training_jobs.receipts(database, job_id)
    assert (receipt["step"], receipt["sha256"]) == (older.step, older.blob)
    assert receipt["passed_over"] == [{"step": newest.step, "sha256": newest.blob}]
    assert (receipt["replays_to"], receipt["bit_exact"]) == (newest.step, True)
    training_jobs.check_units(database, job_id)
    model, bundle = training_jobs.model(database, job_id)
    assert (model.weights_sha256, bundle, training_jobs.epochs(database, job_id)) == undisturbed


def test_a_damaged_dataset_fails_the_job(slots, database):
    job_id = training_jobs.submit_slow(database)
    with database.read() as session:
        (row,) = session.execute(training_jobs.prepared_of(job_id))
    flip_byte(database, row[0])
    job = slots.run(job_id)
    assert (job.state, job.error["code"]) == ("failed", "data_corrupt")


def test_an_attempt_that_the_database_does_not_confirm_is_given_up(new_slots, database):
    slots = new_slots(heartbeat_s=0.2, lease_ttl_s=2.0)
    job_id = training_jobs.submit_slow(database)
    begun(slots, job_id)
    trainer = new_trainer(slots)
    for attempt in slots.supervisor._attempts:
        attempt._database = Gone()
    eventually(lambda: not trainer.alive)
    assert training_jobs.read(database, job_id).state == "running"
    recovery = Recovery(database, lambda job_id: None, ttl_s=0.5)
    recovery.tick()

    def is_reaped():
        recovery.tick()
        return training_jobs.read(database, job_id).state == "queued"

    eventually(is_reaped, every_s=0.1)
    training_jobs.cancel(database, job_id)


def test_an_attempt_that_lost_its_job_kills_its_trainer_and_writes_nothing(slots, database):
    job_id = training_jobs.submit_slow(database)
    begun(slots, job_id)
    trainer = new_trainer(slots)
    training_jobs.execute(
        database,
        "UPDATE jobs SET state = 'queued', owner = NULL, not_before = 1e12 WHERE id = :id",
        id=job_id,
    )
    eventually(lambda: not trainer.alive)
    eventually(lambda: slots.trainer is None)
    step = training_jobs.read(database, job_id).step
    assert training_jobs.steps(database, job_id)[-1][1] == step
    assert training_jobs.read(database, job_id).state == "queued"
    training_jobs.cancel(database, job_id)


def test_a_job_without_room_on_the_disk_waits_for_it_and_counts_no_crash(
    slots, database, monkeypatch
):
    monkeypatch.setattr(Attempt, "full_hold_s", 0.1)
    rows = training_jobs.noise(24_000, 512)  # 39 MB of them to learn from
    data = {"inputs": "inputs", "target": "targets"}
    layers = [{"kind": "dense", "units": 1}]
    job_id = training_jobs.submit(
        database, training_jobs.store(database, *rows), layers=layers, data=data, epochs=1
    )
    for pid in trainers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    job = slots.run(job_id)  # by a trainer that has no such limit
    assert (job.state, job.error, job.attempt, job.crashes) == ("succeeded", None, 2, 0)
    states = ["queued", "running", "queued", "running", "succeeded"]
    assert training_jobs.history(database, job_id) == states


def test_many_jobs_offered_once_are_all_done(slots, database):
    dataset = training_jobs.store(database, *training_jobs.digits())
    ids = [training_jobs.submit(database, dataset, epochs=1, seed=n) for n in range(5)]
    slots.begin(ids[0])
    for job_id in ids:
        assert slots.end_of(job_id).state == "succeeded"
    hashes = {training_jobs.model(database, job_id)[0].weights_sha256 for job_id in ids}
    assert len(hashes) == 5


class Gone:
    """A database that went away."""

    def transact(self, act):
        raise UnavailableError("gone")

    def read(self):
        raise UnavailableError("gone")


def trainers():
    """The trainers of this process that wait for a job."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"worker.trainer" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


def flip_byte(database, blob):
    """Change one byte of a stored blob behind the store's back."""
    rows = training_jobs.execute(
        database,
        "SELECT chunks.sha256, chunks.data FROM chunks JOIN blob_chunks "
        "ON blob_chunks.chunk = chunks.sha256 WHERE blob_chunks.blob = :blob",
        blob=blob,
    )
    sha256, data = rows[0]
    changed = bytearray(data)
    changed[-1] ^= 1
    training_jobs.execute(
        database,
        "UPDATE chunks SET data = :data WHERE sha256 = :sha256",
        data=bytes(changed),
        sha256=sha256,
    )
