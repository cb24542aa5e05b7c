"""Pause, resume and delete (T12-T14), and what no statement may do to a job's past."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from service.actions import architectures, datasets, jobs, models
from service.errors import ConflictError, NotFoundError
from service.store import blobs, transitions
from service.store.tables import Blob, Checkpoint, Chunk, Dataset, JobEvent, Model, Step

TENANT = "default"


def pause(scene, job_id, tenant=TENANT):
    return scene.database.transact(lambda uow: transitions.pause(uow.session, job_id, tenant))


def resume(scene, job_id, tenant=TENANT):
    return scene.database.transact(lambda uow: jobs.resume(uow, scene.bell, tenant, job_id)).state


def delete(scene, action, thing_id, tenant=TENANT):
    scene.database.transact(lambda uow: action.delete(uow, tenant, thing_id))


def test_a_queued_job_is_paused_at_once_and_nobody_claims_it(scene):
    job_id = scene.job()
    assert pause(scene, job_id) == "paused"
    assert pause(scene, job_id) == "paused"
    assert scene.claim(job_id) is None
    assert scene.history(job_id) == ["None>queued", "queued>paused"]


def test_a_running_job_is_asked_to_pause_and_pauses_at_its_release(scene):
    claim = scene.running()
    assert pause(scene, claim.job_id) == "running"
    assert pause(scene, claim.job_id) == "running"
    assert scene.act(transitions.heartbeat, claim) == transitions.Signals(False, True)
    with pytest.raises(ConflictError, match="still about to pause"):
        resume(scene, claim.job_id)
    assert scene.act(transitions.release, claim) == "paused"
    assert scene.row(claim.job_id).owner is None
    changes = ["queued>running", "running>running", "running>paused"]
    assert scene.history(claim.job_id)[1:] == changes


def test_a_resumed_job_goes_on_from_its_last_unit(scene):
    claim = scene.running()
    scene.commit(claim, 0, 4)
    pause(scene, claim.job_id)
    scene.act(transitions.release, claim)
    scene.bell.rung.clear()
    assert resume(scene, claim.job_id) == "queued"
    assert scene.bell.rung == [claim.job_id]
    assert resume(scene, claim.job_id) == "queued"
    second = scene.claim(claim.job_id)
    assert (second.attempt, second.step) == (2, 4)
    assert scene.act(transitions.heartbeat, second) == transitions.Signals(False, False)
    assert resume(scene, claim.job_id) == "running"
    assert scene.history(claim.job_id)[-2:] == ["paused>queued", "queued>running"]


def test_a_paused_job_may_be_cancelled(scene):
    job_id = scene.job()
    pause(scene, job_id)
    assert scene.cancel(job_id) == "cancelled"
    for ask in (pause, resume):
        with pytest.raises(ConflictError, match="was cancelled already"):
            ask(scene, job_id)


def test_a_job_that_is_to_end_cannot_be_paused(scene):
    claim = scene.running()
    scene.cancel(claim.job_id)
    with pytest.raises(ConflictError, match="being cancelled"):
        pause(scene, claim.job_id)
    assert scene.act(transitions.release, claim) == "cancelled"


@pytest.mark.parametrize("ask", [pause, resume])
def test_another_tenant_finds_nothing_to_pause_or_resume(scene, ask):
    job_id = scene.job()
    with pytest.raises(NotFoundError):
        ask(scene, job_id, "other")
    assert scene.history(job_id) == ["None>queued"]


def test_pause_and_claim_at_once_leave_one_of_two_orders(scene):
    for _ in range(10):
        job_id = scene.job()
        start = threading.Barrier(2)
        found = {}

        def claim(job_id=job_id, start=start, found=found):
            start.wait()
            found["claim"] = scene.claim(job_id)

        def hold(job_id=job_id, start=start, found=found):
            start.wait()
            found["pause"] = pause(scene, job_id)

        threads = [threading.Thread(target=claim), threading.Thread(target=hold)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        claimed = found["claim"] is not None
        assert found["pause"] == ("running" if claimed else "paused")
        assert scene.row(job_id).state == found["pause"]


def test_only_a_job_that_has_ended_is_deleted_and_its_bytes_are_collected(scene):
    claim = scene.running(steps=4)
    scene.commit(claim, 0, 4, data=b"a checkpoint of this job alone")
    for state in ("running", "queued", "paused"):
        assert scene.row(claim.job_id).state == state
        with pytest.raises(ConflictError, match="cancel it first"):
            delete(scene, jobs, claim.job_id)
        if state == "running":
            scene.act(transitions.release, claim)
        elif state == "queued":
            pause(scene, claim.job_id)
    resume(scene, claim.job_id)
    second = scene.claim(claim.job_id)
    assert scene.succeed(second, 4)
    with pytest.raises(NotFoundError):
        delete(scene, jobs, claim.job_id, "other")
    delete(scene, jobs, claim.job_id)
    with pytest.raises(NotFoundError):
        delete(scene, jobs, claim.job_id)
    for table in (JobEvent, Step, Checkpoint):
        assert scene.count(table) == 0
    with scene.database.read() as session:
        (model,) = session.scalars(select(Model))
        assert (model.id, model.job_id) == (models.get(session, TENANT, model.id).id, None)
        assert models.download(session, model) == b"bundle"
    assert blobs.collect(scene.database) == 1
    delete(scene, models, model.id)
    blobs.collect(scene.database)
    assert scene.count(Blob) == scene.count(Chunk) == 1, "those of the dataset"


def test_a_dataset_that_a_live_job_needs_is_not_deleted(scene):
    job_id = scene.job()
    dataset_id = scene.row(job_id).dataset_id
    for _ in range(2):
        with pytest.raises(ConflictError, match="needs"):
            delete(scene, datasets, dataset_id)
        pause(scene, job_id)
    scene.cancel(job_id)
    delete(scene, datasets, dataset_id)
    assert scene.row(job_id).dataset_id is None
    with pytest.raises(NotFoundError):
        delete(scene, datasets, dataset_id)


def test_a_job_and_the_delete_of_its_dataset_at_once_leave_one_of_two_orders(scene):
    """On PostgreSQL the delete waits for the job's lock on the row, and then sees the job."""
    for number in range(10):
        dataset = scene.dataset(f"{number}".encode())
        start, found = threading.Barrier(2), {}

        def submit(start=start, found=found, dataset=dataset):
            start.wait()
            try:
                found["job"] = scene.job()
            except DBAPIError:  # the dataset is gone: the row is refused by its foreign key
                found["job"] = None

        def drop(start=start, found=found, dataset=dataset):
            start.wait()
            try:
                delete(scene, datasets, dataset.id)
                found["deleted"] = True
            except ConflictError:
                found["deleted"] = False

        threads = [threading.Thread(target=submit), threading.Thread(target=drop)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if found["job"]:
            row = scene.row(found["job"])
            assert row.dataset_id is not None
            scene.cancel(row.id)
        for left in _datasets(scene):
            delete(scene, datasets, left)


def test_an_architecture_that_a_live_job_uses_is_not_deleted(scene):
    from chainrule.spec import ArchitectureSpec, parse

    spec = parse(ArchitectureSpec, {"name": "a", "layers": [{"kind": "dense", "units": 2}]})
    row = scene.database.transact(lambda uow: architectures.create(uow, TENANT, spec))
    job_id = scene.job()
    scene.sql("UPDATE jobs SET architecture_id = :id", id=row.id)
    with pytest.raises(ConflictError, match="uses"):
        delete(scene, architectures, row.id)
    scene.cancel(job_id)
    delete(scene, architectures, row.id)
    assert scene.row(job_id).architecture_id is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE jobs SET error = NULL",
        "UPDATE jobs SET ended_at = ended_at + 1",
        "UPDATE jobs SET attempt = attempt + 1",
        "UPDATE jobs SET cancel = NOT cancel",
        "UPDATE jobs SET state = 'queued', ended_at = NULL",
    ],
)
def test_a_final_row_is_never_changed_by_anybody(scene, statement):
    claim = scene.running()
    scene.act(transitions.fail, claim, {"code": "diverged"})
    with pytest.raises(DBAPIError, match=r"a final (row|state) never changes"):
        scene.sql(statement)
    assert scene.row(claim.job_id).error == {"code": "diverged"}


def test_history_and_steps_are_never_rewritten(scene):
    scene.commit(scene.running(), 0, 4)
    with pytest.raises(DBAPIError, match="history is never rewritten"):
        scene.sql("UPDATE job_events SET at = 0")
    with pytest.raises(DBAPIError, match="a committed step never changes"):
        scene.sql("UPDATE steps SET attempt = 7")


def _datasets(scene):
    with scene.database.read() as session:
        return list(session.scalars(select(Dataset.id)))
