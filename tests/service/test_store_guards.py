"""Guards term by term: what each keeps out that no other does.  ``make mutants`` asks for these."""

from __future__ import annotations

import hashlib
import time

import pytest
from sqlalchemy import select

from service import faults
from service.ids import new_id
from service.store import blobs, transitions
from service.store.tables import Architecture, Dataset, Job, Model, Part


def test_a_unit_is_not_taken_for_another_that_was_committed(scene):
    claim = scene.running()
    assert scene.commit(claim, 0, 2, data=b"two") == transitions.Signals(False, False)
    assert scene.commit(claim, 0, 2, data=b"two"), "the same call again, as after a lost answer"
    assert scene.commit(claim, 1, 2, data=b"two") is None, "it began elsewhere"
    assert scene.commit(claim, 0, 2, data=b"other") is None, "it ended with other bits"
    assert scene.commit(claim, 2, 4, data=b"four")
    assert scene.commit(claim, 0, 2, data=b"two") is None, "the job has moved on"
    assert scene.commit(claim, 0, 4, data=b"two") is None, "it ended elsewhere"
    assert scene.row(claim.job_id).step == 4


def test_a_unit_of_an_earlier_attempt_is_not_taken_for_ones_own(scene):
    first = scene.running()
    scene.commit(first, 0, 2, data=b"two")
    scene.act(transitions.release, first)
    second = scene.claim(first.job_id)
    assert scene.commit(second, 0, 2, data=b"two") is None
    assert scene.commit(second, 2, 4, data=b"four")


def test_a_claim_that_has_passed_to_somebody_else_is_not_ones_own(scene, monkeypatch):
    """The answer to the COMMIT was lost, and by the time of asking again another has the job."""
    monkeypatch.setattr(faults, "_armed", None)
    job_id, runs = scene.job(), []

    def act(uow):
        runs.append(len(runs))
        if len(runs) == 2:
            row = uow.session.scalar(select(Job).where(Job.id == job_id))
            transitions.reap(uow.session, job_id, row.attempt, row.hb)
            assert transitions.claim(uow.session, job_id, worker="w2", now=time.time() + 1)
        return transitions.claim(uow.session, job_id, worker="w1", now=time.time())

    faults.arm("committed:1:lost")
    assert scene.database.transact(act) is None
    assert runs == [0, 1]
    assert scene.row(job_id).owner.startswith("w2:")


def test_a_job_does_not_succeed_at_another_step_than_its_last(scene):
    claim = scene.running(steps=4)
    scene.commit(claim, 0, 4)
    assert not scene.succeed(claim, 3)
    assert not scene.succeed(claim, 3, early=True)
    assert scene.succeed(claim, 4)


def test_a_model_is_stored_once_for_each_job(scene):
    """Another job's model is no reason to store none."""
    for _ in range(2):
        claim = scene.running(steps=1)
        scene.commit(claim, 0, 1)
        assert scene.succeed(claim, 1, bundle=claim.job_id.encode())
        with scene.database.read() as session:
            model = session.scalar(select(Model).where(Model.job_id == claim.job_id))
        assert model.weights_sha256 == hashlib.sha256(claim.job_id.encode()).hexdigest()
    assert scene.count(Model) == 2


def test_a_claim_reads_what_belongs_to_its_job(scene):
    """Several jobs and datasets lie beside each other."""
    scene.commit(scene.running(), 0, 1)
    other = scene.dataset(b"other data", tenant="other")
    claim = scene.claim(scene.job(tenant="other"))
    assert (claim.prepared, claim.checkpoints) == (other.prepared, ())


def test_a_bell_is_rung_for_due_jobs_only_and_marks_no_other(scene):
    scene.running()
    due, early, told = scene.job(), scene.job(), scene.job()
    now = time.time()
    scene.sql("UPDATE jobs SET published = 0")
    scene.sql("UPDATE jobs SET not_before = :at WHERE id = :id", at=now + 60, id=early)
    scene.sql("UPDATE jobs SET published = :at WHERE id = :id", at=now - 1, id=told)
    rung = scene.database.transact(lambda uow: transitions.due_for_ring(uow.session, now))
    assert rung == [due]
    assert scene.row(told).published == now - 1
    assert scene.row(early).published == 0
    assert scene.row(early).not_before == now + 60
    assert scene.row(due).not_before == 0


def test_a_ring_changes_no_job_that_is_not_queued(scene):
    claim = scene.running()
    far = time.time() + 1e6
    scene.sql("UPDATE jobs SET not_before = :far, published = 0", far=far)
    rung = scene.database.transact(lambda uow: transitions.due_for_ring(uow.session, time.time()))
    assert rung == []
    assert scene.row(claim.job_id).not_before == far


def architecture(scene, tenant="default"):
    def act(uow):
        row = Architecture(
            id=new_id("arch"), tenant_id=tenant, name="a", spec={}, created_at=time.time()
        )
        uow.session.add(row)
        return row.id

    return scene.database.transact(act)


def model(scene, tenant="default"):
    claim = scene.running(steps=1, tenant=tenant)
    scene.commit(claim, 0, 1)
    assert scene.succeed(claim, 1, bundle=claim.job_id.encode())
    return scene.row(claim.job_id).model_id


def ended_job(scene, tenant="default"):
    job_id = scene.job(tenant=tenant)
    scene.cancel(job_id, tenant)
    return job_id


def dataset(scene, tenant="default"):
    return scene.dataset(new_id("ds").encode(), tenant).id


DELETES = [
    (transitions.delete_job, Job, ended_job),
    (transitions.delete_dataset, Dataset, dataset),
    (transitions.delete_architecture, Architecture, architecture),
    (transitions.delete_model, Model, model),
]


@pytest.mark.parametrize(("delete", "table", "make"), DELETES, ids=lambda v: v.__name__)
def test_a_delete_takes_one_row_of_ones_own(scene, delete, table, make):
    mine, other, foreign = make(scene), make(scene), make(scene, "other")

    def deleted(row_id):
        return scene.database.transact(lambda uow: delete(uow.session, row_id, "default"))

    assert not deleted(foreign)
    assert not deleted("nothing")
    assert deleted(mine)
    assert not deleted(mine)
    with scene.database.read() as session:
        left = set(session.scalars(select(table.id)))
    assert {other, foreign} <= left
    assert mine not in left


@pytest.mark.parametrize("what", ["dataset", "architecture"])
def test_what_no_live_job_needs_is_deleted_though_others_live(scene, what):
    scene.job()  # lives, of another dataset and no architecture
    free = dataset(scene) if what == "dataset" else architecture(scene)
    delete = getattr(transitions, f"delete_{what}")
    assert scene.database.transact(lambda uow: delete(uow.session, free, "default"))


def test_a_result_is_stored_when_all_rows_are_there(scene):
    """A prediction's T5: neither early, nor for another number of rows, nor for another tenant."""
    scene.job(tenant="another")
    claim, other = scene.running(steps=4), scene.running(steps=4)

    def part(prev, step, claim=claim):
        staged = blobs.stage(scene.database, f"rows to {step}".encode())
        return scene.database.transact(
            lambda uow: transitions.commit_part(
                uow.session, claim.job_id, claim.attempt, prev=prev, step=step, streams=[staged]
            )
        )

    def deliver(rows, name=b"all", form="csv"):
        content = blobs.stage(scene.database, name)
        new = transitions.NewDataset(content, content, "result", form, rows, {})
        return scene.database.transact(
            lambda uow: transitions.deliver(uow.session, claim.job_id, claim.attempt, new)
        )

    assert part(0, 2)
    assert not deliver(2)
    assert not deliver(4)
    assert part(2, 4)
    assert part(0, 2, other)
    assert not deliver(2)
    before = scene.count(Dataset)
    assert deliver(4)
    assert scene.count(Part) == 1, "another job's parts stay"
    assert scene.count(Dataset) == before + 1
    result = scene.row(claim.job_id).result["dataset_id"]
    with scene.database.read() as session:
        stored = session.scalar(select(Dataset).where(Dataset.id == result))
    assert (stored.tenant_id, stored.format, stored.rows) == ("default", "csv", 4)


def test_equal_bytes_are_one_dataset_of_each_tenant_format_and_types(scene):
    def store(tenant, form, data, types="{}"):
        staged = blobs.stage(scene.database, data)
        new = transitions.NewDataset(staged, staged, "d", form, 1, {}, types)
        return scene.database.transact(
            lambda uow: transitions.store_dataset(uow.session, tenant, new)[0].id
        )

    first = store("default", "csv", b"data")
    assert store("default", "csv", b"data") == first
    others = [
        store("other", "csv", b"data"),
        store("default", "npy", b"data"),
        store("default", "csv", b"more"),
        store("default", "csv", b"data", '{"a":"text"}'),
    ]
    assert len({first, *others}) == 5
