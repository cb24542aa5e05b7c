"""The state machine, transition by transition, on both engines: reliability.md's table."""

from __future__ import annotations

import math
import threading
import time

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.errors import ConflictError, NotFoundError
from service.store import transitions
from service.store.tables import Checkpoint, EpochMetrics, Job, Model, Step

CRASH = {"code": "crashed", "detail": "signal 11"}


def test_a_certificate_is_kept_for_the_attempts_to_come_by_the_latest_one_only(scene):
    first = scene.running()
    kept = {"status": "passed", "layers": [{"max_relative_error": 1.23e-9, "nan": math.nan}]}
    assert first.certificate is None
    assert scene.act(transitions.certify, first, kept) == transitions.Signals(False, False)
    scene.act(transitions.release, first)
    second = scene.claim(first.job_id)
    assert second.certificate == {
        "status": "passed",
        "layers": [{"max_relative_error": 1.23e-9, "nan": None}],
    }
    assert scene.act(transitions.certify, first, {}) is None
    assert scene.act(transitions.fail, second, CRASH)
    assert scene.act(transitions.certify, second, {}) is None
    with scene.database.read() as session:
        found = session.scalar(select(Job.certificate).where(Job.id == first.job_id))
    assert found == second.certificate


def test_an_evaluation_is_kept_with_the_job_and_its_model_once_the_job_has_succeeded(scene):
    claim = scene.running(steps=1)
    scene.commit(claim, 0, 1)
    assert scene.succeed(claim, 1, evaluation={"status": "complete", "nan": math.nan})
    kept = {"status": "complete", "nan": None}
    with scene.database.read() as session:
        assert session.scalar(select(Job.evaluation).where(Job.id == claim.job_id)) == kept
        assert session.scalar(select(Model.evaluation).where(Model.job_id == claim.job_id)) == kept
    with pytest.raises(IntegrityError, match="a final row never changes"):
        scene.database.transact(
            lambda uow: uow.session.execute(update(Job).values(evaluation=None))
        )


def test_a_claim_begins_an_attempt_and_names_its_owner(scene):
    claim = scene.running(steps=7)
    row = scene.row(claim.job_id)
    assert (row.state, row.attempt, row.hb, row.owner) == ("running", 1, 1, claim.owner)
    assert claim.owner.startswith("w1:")
    assert (claim.step, claim.steps, claim.checkpoint) == (0, 7, None)
    assert row.started_at is not None
    assert scene.history(claim.job_id) == ["None>queued", "queued>running"]


def test_a_running_job_cannot_be_claimed_again(scene):
    claim = scene.running()
    assert scene.claim(claim.job_id, worker="w2") is None
    assert scene.row(claim.job_id).attempt == 1


def test_a_job_that_is_not_there_cannot_be_claimed(scene):
    assert scene.claim("job_" + "0" * 32) is None


def test_a_cancelled_job_cannot_be_claimed(scene):
    job_id = scene.job()
    scene.cancel(job_id)
    assert scene.claim(job_id) is None


def test_a_queued_job_that_is_to_be_cancelled_is_not_begun(scene):
    job_id = scene.job()
    scene.sql("UPDATE jobs SET cancel = :yes", yes=True)  # no transition leaves a row like this
    assert scene.claim(job_id) is None
    with scene.database.read() as session:
        assert transitions.next_queued(session, time.time()) is None


def test_a_job_held_back_cannot_be_claimed_before_its_time(scene):
    job_id = scene.job()
    scene.sql("UPDATE jobs SET not_before = 1000")
    assert scene.claim(job_id, now=999.0) is None
    assert scene.claim(job_id, now=1000.0).attempt == 1


def test_a_job_given_back_for_want_of_room_waits_for_a_while_and_counts_no_crash(scene):
    claim = scene.running()
    held = scene.database.transact(
        lambda uow: transitions.release(uow.session, claim.job_id, claim.attempt, hold_s=10.0)
    )
    assert held == "queued"
    now = time.time()
    assert scene.claim(claim.job_id, now=now + 8) is None
    assert scene.claim(claim.job_id, now=now + 11).attempt == 2
    assert scene.row(claim.job_id).crashes == 0


def test_two_workers_that_claim_at_once_get_one_attempt(scene):
    job_id = scene.job()
    start, claims = threading.Barrier(6), []

    def go(worker):
        start.wait()
        claims.append(scene.claim(job_id, worker=worker))

    threads = [threading.Thread(target=go, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claims) == 6
    (won,) = [claim for claim in claims if claim]
    assert scene.row(job_id).owner == won.owner
    assert scene.row(job_id).attempt == 1


def test_the_oldest_due_job_is_next(scene):
    first, second, third = scene.job(), scene.job(), scene.job()
    with scene.database.read() as session:
        assert transitions.next_queued(session, time.time()) == first
    scene.cancel(first)
    scene.sql("UPDATE jobs SET not_before = 1e12 WHERE id = :id", id=second)
    with scene.database.read() as session:
        assert transitions.next_queued(session, time.time()) == third
    scene.claim(third)
    with scene.database.read() as session:
        assert transitions.next_queued(session, time.time()) is None


def test_a_heartbeat_counts_and_tells_what_is_asked(scene):
    claim = scene.running()
    assert scene.act(transitions.heartbeat, claim) == transitions.Signals(False, False)
    assert scene.row(claim.job_id).hb == 2
    assert scene.cancel(claim.job_id) == "running"
    assert scene.act(transitions.heartbeat, claim) == transitions.Signals(True, False)
    with scene.database.read() as session:
        peeked = transitions.peek(session, claim.job_id, claim.attempt)
    assert peeked == transitions.Signals(True, False)
    assert scene.row(claim.job_id).hb == 3


def test_a_unit_moves_the_step_and_leaves_a_checkpoint(scene):
    claim = scene.running()
    scene.sql("UPDATE jobs SET crashes = 2")
    assert scene.commit(claim, 0, 4, loss=0.5, epoch=1) == transitions.Signals(False, False)
    row = scene.row(claim.job_id)
    assert (row.step, row.epoch, row.crashes, row.hb) == (4, 1, 0, 2)
    assert row.best == {"step": 4, "epoch": 1, "loss": 0.5}
    with scene.database.read() as session:
        (step,) = session.scalars(select(Step))
        (checkpoint,) = session.scalars(select(Checkpoint))
    assert (step.prev, step.step, step.attempt) == (0, 4, 1)
    assert checkpoint.blob == step.checkpoint_sha256


def test_the_first_checkpoint_is_no_progress(scene):
    claim = scene.running()
    scene.sql("UPDATE jobs SET crashes = 2")
    assert scene.commit(claim, 0, 0, loss=None) is not None
    assert scene.row(claim.job_id).crashes == 2
    assert (scene.count(Step), scene.count(Checkpoint)) == (0, 1)


def test_a_unit_that_does_not_follow_on_the_last_is_refused(scene):
    claim = scene.running()
    scene.commit(claim, 0, 4)
    assert scene.commit(claim, 3, 6) is None
    assert scene.commit(claim, 5, 6) is None
    assert scene.row(claim.job_id).step == 4
    assert scene.count(Step) == 1


def test_a_unit_beyond_the_last_step_is_refused_by_the_database(scene):
    claim = scene.running(steps=3)
    with pytest.raises(IntegrityError):
        scene.commit(claim, 0, 4)
    assert scene.row(claim.job_id).step == 0


def test_epochs_are_kept_and_what_is_not_finite_is_null(scene):
    claim = scene.running()
    row = {
        "epoch": 1,
        "step": 4,
        "train": {"loss": math.nan, "accuracy": 0.5},
        "validation": {"loss": math.inf},
        "learning_rate": 0.1,
        "seconds": 1.5,
        "samples_per_s": -math.inf,
    }
    scene.commit(claim, 0, 4, loss=math.nan, epoch=1, rows=[row])
    with scene.database.read() as session:
        (epoch,) = session.scalars(select(EpochMetrics))
        (step,) = session.scalars(select(Step))
    assert epoch.train == {"loss": None, "accuracy": 0.5}
    assert epoch.validation == {"loss": None}
    assert epoch.samples_per_s is None
    assert step.loss is None
    job = scene.row(claim.job_id)
    assert job.metrics == {"train": epoch.train, "validation": {"loss": None}}
    assert job.best is None


def test_the_best_and_the_last_two_checkpoints_are_kept(scene):
    claim = scene.running()
    losses = [None, 5.0, 1.0, 4.0, 3.0, 2.0]
    scene.commit(claim, 0, 0, loss=None)
    for step in range(1, 6):
        scene.commit(claim, step - 1, step, loss=losses[step])
    with scene.database.read() as session:
        kept = set(session.scalars(select(Checkpoint.step)))
    assert kept == {2, 4, 5}
    assert scene.row(claim.job_id).best["step"] == 2
    job_id = claim.job_id
    scene.act(transitions.release, claim)
    again = scene.claim(job_id)
    assert [c.step for c in again.checkpoints] == [5, 4, 2]
    assert again.checkpoint.step == again.step == 5
    # dataset + three checkpoints: the superseded ones left nothing behind
    assert scene.sql("SELECT count(*) FROM blobs") == [(4,)]
    assert scene.sql("SELECT count(*) FROM chunks") == [(4,)]


def test_checkpoints_of_another_job_are_neither_counted_nor_dropped(scene):
    other, claim = scene.running(), scene.running()
    for prev, step, loss in [(0, 1, 0.1), (1, 8, 5.0), (8, 9, 6.0)]:
        scene.commit(other, prev, step, loss=loss)
    for prev, step, loss in [(0, 1, 4.0), (1, 2, 2.0), (2, 3, 3.0), (3, 4, 3.5)]:
        scene.commit(claim, prev, step, loss=loss)
    with scene.database.read() as session:
        kept = session.execute(select(Checkpoint.job_id, Checkpoint.step)).all()
    assert {step for job_id, step in kept if job_id == other.job_id} == {1, 8, 9}
    assert {step for job_id, step in kept if job_id == claim.job_id} == {2, 3, 4}
    assert scene.row(claim.job_id).best["step"] == 2


def test_a_job_succeeds_with_its_model_in_one_step(scene):
    claim = scene.running(steps=2)
    scene.commit(claim, 0, 2)
    assert scene.succeed(claim, 2, metrics={"test": {"loss": math.nan}})
    row = scene.row(claim.job_id)
    assert (row.state, row.owner, row.metrics) == ("succeeded", None, {"test": {"loss": None}})
    assert row.ended_at is not None
    with scene.database.read() as session:
        (model,) = session.scalars(select(Model))
    assert (model.id, model.job_id, model.name) == (row.model_id, row.id, "job")
    assert scene.history(row.id)[-1] == "running>succeeded"


def test_a_job_does_not_succeed_before_its_last_step_unless_it_stops_early(scene):
    claim = scene.running(steps=5)
    scene.commit(claim, 0, 2)
    assert not scene.succeed(claim, 2)
    assert not scene.succeed(claim, 5)
    assert not scene.succeed(claim, 5, early=True)
    assert scene.count(Model) == 0
    assert scene.succeed(claim, 2, early=True)
    assert scene.row(claim.job_id).steps == 2


def test_a_failure_keeps_its_reason(scene):
    claim = scene.running()
    error = {"code": "diverged", "detail": "loss", "epoch": 1, "value": math.nan}
    assert scene.act(transitions.fail, claim, error)
    row = scene.row(claim.job_id)
    assert (row.state, row.owner, row.error["value"]) == ("failed", None, None)
    assert row.ended_at is not None


@pytest.mark.parametrize(
    ("asked", "state"), [("", "queued"), ("cancel", "cancelled"), ("pause", "paused")]
)
def test_a_release_is_not_counted_and_answers_what_was_asked(scene, asked, state):
    claim = scene.running()
    if asked:
        scene.sql(f"UPDATE jobs SET {asked} = :yes", yes=True)
    assert scene.act(transitions.release, claim) == state
    row = scene.row(claim.job_id)
    assert (row.state, row.owner, row.crashes) == (state, None, 0)
    assert (row.ended_at is not None) == (state == "cancelled")
    assert scene.history(row.id)[-1] == f"running>{state}"


def test_crashes_hold_a_job_back_longer_and_the_third_ends_it(scene):
    job_id = scene.job()
    for crashes, wait in ((1, 0.0), (2, 1.0)):
        claim = scene.claim(job_id, now=time.time() + 10)
        before = time.time()
        assert scene.act(transitions.retry, claim, CRASH) == "queued"
        row = scene.row(job_id)
        assert row.crashes == crashes
        assert before + wait <= row.not_before <= time.time() + wait
        assert row.error is None
    claim = scene.claim(job_id, now=time.time() + 10)
    assert scene.act(transitions.retry, claim, CRASH) == "failed"
    row = scene.row(job_id)
    assert (row.attempt, row.error, row.owner) == (3, CRASH, None)
    assert row.ended_at is not None


def test_progress_forgives_earlier_crashes(scene):
    job_id = scene.job()
    for step in range(4):
        claim = scene.claim(job_id, now=time.time() + 10)
        scene.commit(claim, step, step + 1)
        assert scene.act(transitions.retry, claim, CRASH) == "queued"
    assert scene.row(job_id).crashes == 1


def test_backoff_doubles_up_to_five_minutes():
    waits = [transitions.backoff_s(n) for n in (1, 2, 3, 4, 10, 11, 1000)]
    assert waits == [0, 1, 2, 4, 256, 300, 300]


@pytest.mark.parametrize(("asked", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_crash_answers_what_was_asked_even_if_it_is_the_last(scene, asked, state):
    claim = scene.running()
    scene.sql(f"UPDATE jobs SET crashes = 2, {asked} = :yes", yes=True)
    assert scene.act(transitions.retry, claim, CRASH) == state
    row = scene.row(claim.job_id)
    assert row.error is None
    assert (row.ended_at is not None) == (state == "cancelled")


@pytest.mark.parametrize("crashes", [3, 8, 9, 10, 40])
def test_a_job_paused_at_its_last_crash_or_later_waits_no_longer_than_backoff(scene, crashes):
    claim = scene.running()
    scene.sql("UPDATE jobs SET crashes = :crashes, pause = :yes", crashes=crashes, yes=True)
    before, wait_s = time.time(), transitions.backoff_s(crashes + 1)
    assert scene.act(transitions.retry, claim, CRASH) == "paused"
    assert before + wait_s <= scene.row(claim.job_id).not_before <= time.time() + wait_s


def test_a_reaper_ends_only_the_attempt_and_heartbeat_that_it_saw(scene):
    claim = scene.running()
    scene.act(transitions.heartbeat, claim)
    assert scene.act(transitions.reap, claim, 1) is None
    stale = _stale(claim, 0)
    assert scene.act(transitions.reap, stale, 2) is None
    assert scene.act(transitions.reap, claim, 2) == "queued"
    assert scene.act(transitions.reap, claim, 2) is None
    assert scene.row(claim.job_id).crashes == 1


def test_a_reaper_does_not_resurrect_a_cancelled_job(scene):
    claim = scene.running()
    scene.cancel(claim.job_id)
    scene.act(transitions.release, claim)
    assert scene.act(transitions.reap, claim, 1) is None
    assert scene.row(claim.job_id).state == "cancelled"


@pytest.mark.parametrize(
    "write",
    [
        lambda scene, claim: scene.act(transitions.heartbeat, claim),
        lambda scene, claim: scene.commit(claim, 0, 1),
        lambda scene, claim: scene.commit(claim, 1, 2),
        lambda scene, claim: scene.succeed(claim, 1, early=True),
        lambda scene, claim: scene.act(transitions.fail, claim, CRASH),
        lambda scene, claim: scene.act(transitions.release, claim),
        lambda scene, claim: scene.act(transitions.retry, claim, CRASH),
        lambda scene, claim: scene.act(transitions.reap, claim, scene.row(claim.job_id).hb),
    ],
    ids=["heartbeat", "same unit", "next unit", "succeed", "fail", "release", "retry", "reap"],
)
@pytest.mark.parametrize("after", ["reaped", "claimed again", "cancelled"])
def test_an_attempt_that_is_over_writes_nothing(scene, write, after):
    zombie = scene.running()
    scene.commit(zombie, 0, 1)
    if after == "cancelled":
        scene.cancel(zombie.job_id)
    scene.act(transitions.reap, zombie, scene.row(zombie.job_id).hb)
    if after == "claimed again":
        assert scene.claim(zombie.job_id, worker="w2").attempt == 2
    before = _facts(scene, zombie.job_id)
    assert not write(scene, zombie)
    assert _facts(scene, zombie.job_id) == before


def test_cancelling_ends_a_waiting_job_and_asks_a_running_one(scene):
    waiting, running = scene.job(), scene.running()
    assert scene.cancel(waiting) == "cancelled"
    assert scene.cancel(waiting) == "cancelled"
    assert scene.row(waiting).ended_at is not None
    assert scene.cancel(running.job_id) == "running"
    assert scene.cancel(running.job_id) == "running"
    assert scene.history(running.job_id).count("running>running") == 1
    assert scene.act(transitions.release, running) == "cancelled"


def test_a_paused_job_is_cancelled_at_once(scene):
    claim = scene.running()
    scene.sql("UPDATE jobs SET pause = :yes", yes=True)
    assert scene.act(transitions.release, claim) == "paused"
    assert scene.cancel(claim.job_id) == "cancelled"


def test_an_ended_job_cannot_be_cancelled_and_another_tenants_is_not_there(scene):
    claim = scene.running()
    scene.act(transitions.fail, claim, CRASH)
    with pytest.raises(ConflictError, match=f"^{claim.job_id} has failed already"):
        scene.cancel(claim.job_id)
    done = scene.running(steps=2)
    scene.commit(done, 0, 2)
    assert scene.succeed(done, 2)
    with pytest.raises(ConflictError, match=f"^{done.job_id} has succeeded already"):
        scene.cancel(done.job_id)
    with pytest.raises(NotFoundError) as missing:
        scene.cancel(claim.job_id, tenant="other")
    with pytest.raises(NotFoundError) as unknown:
        scene.cancel("job_x")
    assert str(missing.value).replace(claim.job_id, "X") == str(unknown.value).replace("job_x", "X")


def test_a_job_that_nobody_took_is_rung_again_after_ten_seconds(scene):
    job_id, now = scene.job(), time.time()
    scene.sql("UPDATE jobs SET published = :now", now=now)

    def due(at):
        return scene.database.transact(lambda uow: transitions.due_for_ring(uow.session, at))

    assert due(now + 5) == []
    assert due(now + 11) == [job_id]
    assert due(now + 12) == []
    assert due(now + 11 - 0.001) == []  # another process's clock, or one that asked a moment ago
    assert due(now - 3600) == [job_id]  # the clock was set back


def test_a_job_held_back_by_a_clock_since_set_back_becomes_due(scene):
    job_id, now = scene.job(), time.time()
    scene.sql("UPDATE jobs SET published = 0, not_before = :far", far=now + 1e6)
    due = scene.database.transact(lambda uow: transitions.due_for_ring(uow.session, now))
    assert due == [job_id]
    assert scene.claim(job_id, now=now)


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "cancelled"])
def test_a_final_state_never_changes_whoever_writes(scene, state):
    claim = scene.running()
    scene.act(transitions.fail, claim, CRASH)
    with pytest.raises(DBAPIError, match="never changes"):
        scene.sql("UPDATE jobs SET state = :state", state=state)
    assert scene.row(claim.job_id).state == "failed"


@pytest.mark.parametrize("column", ["attempt", "step"])
def test_attempt_and_step_never_fall(scene, column):
    claim = scene.running()
    scene.commit(claim, 0, 2)
    with pytest.raises(DBAPIError, match="never fall"):
        scene.sql(f"UPDATE jobs SET {column} = {column} - 1")


@pytest.mark.parametrize(
    "values",
    [
        "state = 'running'",
        "owner = 'w1:x'",
        "state = 'cancelled'",
        "ended_at = 1",
        "step = 11",
        "step = -1",
        "state = 'asleep'",
        "state = 'succeeded', ended_at = 1",
        "dataset_id = NULL",
        "attempt = NULL",
        "not_before = NULL",
    ],
)
def test_the_database_refuses_rows_that_make_no_sense(scene, values):
    scene.job()
    with pytest.raises(IntegrityError):
        scene.sql(f"UPDATE jobs SET {values}")


def _stale(claim, attempt):
    return type(claim)(**{**vars(claim), "attempt": attempt})


def _facts(scene, job_id):
    """All that a late write could have changed."""
    tables = ("job_events", "steps", "checkpoints", "models")
    counts = [scene.sql(f"SELECT count(*) FROM {t}")[0][0] for t in tables]
    return scene.sql("SELECT * FROM jobs WHERE id = :id", id=job_id), counts
