"""A dataset that a job parses: the two are queued, done and lost together."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select, text

from service import faults
from service.ids import new_id
from service.store import blobs, transitions
from service.store.tables import Dataset, Job
from service.store.transitions import results

READY = {"rows": 3, "schema": {"kind": "table"}}


class Files:
    """Stores files that are to be parsed, and tells what becomes of them."""

    def __init__(self, scene):
        self.scene = scene
        self.database = scene.database

    def store(self, data=b"a\n1\n", job_id=None):
        """Return the id of a dataset and that of its job."""
        staged, job_id = blobs.stage(self.database, data), job_id or new_id("job")
        new = transitions.NewDataset(staged, None, "file", "csv", None, None)

        def act(uow):
            row, fresh = transitions.store_dataset(uow.session, "default", new)
            if fresh:
                transitions.enqueue_parsing(uow.session, row, job_id, {"max_seconds": 60}, 7)
            return row.id, fresh

        dataset_id, fresh = self.database.transact(act)
        return dataset_id, job_id if fresh else None

    def claimed(self, data=b"a\n1\n"):
        dataset_id, job_id = self.store(data)
        return dataset_id, self.scene.claim(job_id)

    def parsed(self, claim, data=b"tensors"):
        return blobs.attached(
            self.database,
            lambda: blobs.stage(self.database, data),
            lambda uow, staged: transitions.parsed(
                uow.session, claim.job_id, claim.attempt, **READY, prepared=staged
            ),
        )

    def __call__(self, dataset_id):
        with self.database.read() as session:
            return session.scalar(select(Dataset).where(Dataset.id == dataset_id))

    def state(self, dataset_id):
        return self(dataset_id).state

    def set(self, table, thing_id, **values):
        words = ", ".join(f"{name} = :{name}" for name in values)
        statement = text(f"UPDATE {table} SET {words} WHERE id = :id")
        self.database.transact(
            lambda uow: uow.session.execute(statement, values | {"id": thing_id})
        )


@pytest.fixture
def files(scene):
    return Files(scene)


def cancel(scene, job_id):
    scene.database.transact(lambda uow: transitions.cancel(uow.session, job_id, "default"))


def test_a_file_is_queued_with_its_dataset(scene, files):
    dataset_id, job_id = files.store()
    row, job = files(dataset_id), scene.row(job_id)
    assert (row.state, row.rows, row.prepared, row.schema) == ("parsing", None, None, None)
    assert (job.kind, job.state, job.dataset_id) == ("parsing", "queued", dataset_id)
    assert (job.step, job.steps, job.memory_bytes) == (0, 4, 7)
    assert scene.history(job_id) == ["None>queued"]
    claim = scene.claim(job_id)
    assert (claim.kind, claim.content, claim.max_seconds) == ("parsing", row.blob, 60)
    assert claim.prepared is None


def test_the_same_bytes_wait_for_the_same_job(files):
    dataset_id, _ = files.store()
    assert files.store() == (dataset_id, None)


def test_a_parsed_file_is_ready_and_no_other_is(scene, files):
    other, _ = files.store(b"other")
    dataset_id, claim = files.claimed()
    assert files.parsed(claim)
    row, job = files(dataset_id), scene.row(claim.job_id)
    assert (row.state, row.rows, row.schema, row.error) == ("ready", 3, READY["schema"], None)
    assert (job.state, job.step) == ("succeeded", 4)
    assert files.state(other) == "parsing"
    assert files.parsed(claim) is False, "a final job ends once"


def test_a_superseded_attempt_makes_nothing_ready(scene, files):
    dataset_id, first = files.claimed()
    scene.act(transitions.release, first)
    second = scene.claim(first.job_id)
    assert not files.parsed(first)
    assert scene.act(transitions.note_parsed, first, 2) is None
    assert scene.act(transitions.fail, first, {"code": "late"}) is False
    assert files.state(dataset_id) == "parsing"
    assert files.parsed(second)


def test_a_lost_commit_is_found_to_have_gone_through(files, monkeypatch):
    monkeypatch.setattr(faults, "_armed", None)
    dataset_id, claim = files.claimed()
    staged = blobs.stage(files.database, b"tensors")
    faults.arm("committed:1:lost")
    assert files.database.transact(
        lambda uow: transitions.parsed(
            uow.session, claim.job_id, claim.attempt, **READY, prepared=staged
        )
    )
    assert files.state(dataset_id) == "ready"


def test_only_what_is_being_parsed_becomes_ready(files):
    dataset_id, claim = files.claimed()
    files.set("datasets", dataset_id, state="failed")
    assert files.parsed(claim)
    assert files.state(dataset_id) == "failed"


def test_what_an_attempt_has_come_to_is_told_and_never_falls(scene, files):
    _, claim = files.claimed(b"a" * 10)
    assert scene.act(transitions.note_parsed, claim, 6) == transitions.Signals(False, False)
    assert scene.act(transitions.note_parsed, claim, 2) is not None
    row = scene.row(claim.job_id)
    assert (row.step, row.hb) == (6, 3)
    assert scene.act(transitions.retry, claim, {"code": "crashed"}) == "queued"
    again = scene.claim(claim.job_id)
    assert scene.act(transitions.note_parsed, again, 3) is not None
    row = scene.row(claim.job_id)
    assert (row.step, row.crashes) == (6, 1), "nothing is kept: a crash stays counted"


ERROR = {"code": "data_invalid", "detail": "file: no", "errors": []}
ENDS = {
    "fails": (lambda scene, claim: scene.act(transitions.fail, claim, ERROR), "data_invalid"),
    "is cancelled": (lambda scene, claim: cancel(scene, claim.job_id), None),
    "is cancelled and given back": (
        lambda scene, claim: (cancel(scene, claim.job_id), scene.act(transitions.release, claim)),
        "cancelled",
    ),
    "is given back": (lambda scene, claim: scene.act(transitions.release, claim), None),
    "crashes": (lambda scene, claim: scene.act(transitions.retry, claim, {"code": "c"}), None),
    "is reaped": (lambda scene, claim: scene.act(transitions.reap, claim, 1), None),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_dataset_fails_when_its_job_has_ended_so_and_no_other_does(scene, files, how):
    end, code = ENDS[how]
    other, _ = files.store(b"other")
    dataset_id, claim = files.claimed()
    end(scene, claim)
    row = files(dataset_id)
    assert (row.state, row.error and row.error["code"]) == ("failed" if code else "parsing", code)
    assert files.state(other) == "parsing"


def test_the_third_crash_fails_the_dataset_with_its_reason(scene, files):
    dataset_id, claim = files.claimed()
    reason = {"code": "crashed", "detail": "the parser died of SIGSEGV"}
    for _ in range(2):
        assert scene.act(transitions.retry, claim, reason) == "queued"
        claim = scene.claim(claim.job_id, now=time.time() + 1000)
    assert scene.act(transitions.retry, claim, reason) == "failed"
    assert files(dataset_id).error == reason


def test_a_queued_job_that_is_cancelled_fails_its_dataset(scene, files):
    dataset_id, job_id = files.store()
    cancel(scene, job_id)
    assert (files.state(dataset_id), files(dataset_id).error["code"]) == ("failed", "cancelled")


def test_a_job_that_only_reads_a_dataset_does_not_fail_it(scene, files):
    dataset_id, job_id = files.store()
    files.set("jobs", job_id, kind="training")
    cancel(scene, job_id)
    assert files.state(dataset_id) == "parsing"


def test_a_ready_dataset_does_not_fail(scene, files):
    dataset_id, claim = files.claimed()
    files.set("datasets", dataset_id, state="ready", prepared=files(dataset_id).blob)
    scene.act(transitions.fail, claim, ERROR)
    assert files.state(dataset_id) == "ready"


def test_a_failed_dataset_is_taken_up_again_and_no_other_is(scene, files):
    other, other_job = files.store(b"other")
    dataset_id, first = files.store()
    for job_id in (other_job, first):
        cancel(scene, job_id)
    again, second = files.store()
    assert (again, second is None) == (dataset_id, False)
    assert (files.state(dataset_id), files(dataset_id).error) == ("parsing", None)
    assert files.state(other) == "failed"
    assert files.parsed(scene.claim(second))
    assert files.state(dataset_id) == "ready"


def test_of_two_that_take_up_a_failed_dataset_one_does(scene, files):
    """The second has read that it is failed before the first has committed."""
    dataset_id, job_id = files.store()
    cancel(scene, job_id)
    seen = files(dataset_id)
    assert files.store()[1] is not None
    values = {"state": "ready", "rows": 1, "prepared": seen.blob, "schema": {}}
    row, fresh = files.database.transact(lambda uow: results._renew(uow.session, seen, values))
    assert (row.id, row.state, fresh) == (dataset_id, "parsing", False)


def test_a_dataset_is_kept_while_it_is_parsed(scene, files):
    from service.errors import ConflictError

    dataset_id, job_id = files.store()

    def delete(uow):
        return transitions.delete_dataset(uow.session, dataset_id, "default")

    with pytest.raises(ConflictError, match="a job that has not ended needs"):
        files.database.transact(delete)
    cancel(scene, job_id)
    assert files.database.transact(delete)
    assert scene.row(job_id).dataset_id is None
    with scene.database.read() as session:
        assert session.scalar(select(Job.state).where(Job.id == job_id)) == "cancelled"
