"""Jobs that begin with the weights of others: which are found, what is told, what is kept."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select

import chainrule
from chainrule.checkpoint import Checkpoint
from chainrule.warmstart import warm_start
from service.actions import jobs
from service.actions.requests import JobRequest
from service.store import blobs, tables, transitions
from tests.api_testing import network, trained, training

SETTINGS = {"epochs": 2, "batch_size": 16}


def warm(source, **changes):
    """The settings of a job that begins with these weights."""
    return {"training": SETTINGS | {"warm_start": source}} | changes


def located(answer):
    """Where a refused request is wrong, and what is said of it."""
    assert answer.status_code == 422, answer.text
    (error,) = answer.json["errors"]
    return error["pointer"], error["detail"]


def validated(api, **changes):
    return api.post("/v1/jobs?validate_only=true", json=api.job_request(**changes))


def claim_of(api, job_id):
    return api.database.transact(
        lambda uow: transitions.claim(uow.session, job_id, worker="w", now=2e9)
    )


def test_a_job_begins_with_a_model_and_keeps_a_receipt(api):
    model = trained(api)
    source = {"model_id": model["model_id"]}
    job = api.submit(**warm(source))
    assert job["config"]["training"]["warm_start"] == source | {"job_id": None, "step": None}
    receipt = job["warm_start"]
    assert (receipt["restored"], receipt["skipped"]) == (["dense_1", "dense_2"], [])
    assert receipt["unused"] == []
    bundle = api.get(f"/v1/models/{model['model_id']}/download")
    assert bundle.headers["ETag"] == f'"{receipt["sha256"]}"'
    assert api.get(job["links"]["self"]).json["warm_start"] == receipt
    claimed = claim_of(api, job["id"]).warm_start
    assert (claimed.blob, claimed.architecture) == (receipt["sha256"], None)
    assert model["warm_start"] is None


def test_validating_shows_the_receipt_and_what_the_source_costs(api):
    model = trained(api, architecture=network(8, "auto"))
    before = api.row_counts()
    cold = validated(api, training=SETTINGS).json
    plan = validated(api, **warm({"model_id": model["model_id"]})).json
    assert plan["warm_start"]["restored"] == ["dense_1", "dense_2"]
    bundle = api.get(f"/v1/models/{model['model_id']}").json["bytes"]
    assert plan["memory_bytes"] == cold["memory_bytes"] + 4 * bundle
    assert cold["warm_start"] is None
    assert api.row_counts() == before


def test_a_job_begins_with_the_newest_checkpoint_of_another_or_with_one_that_is_named(api):
    other = trained(api, training=SETTINGS | {"epochs": 5})
    kept = {row["step"]: row for row in api.get(other["links"]["checkpoints"]).json["items"]}
    newest = api.submit(**warm({"job_id": other["id"]}))
    step = max(kept)
    named = {"model_id": None, "job_id": other["id"], "step": step}
    assert newest["config"]["training"]["warm_start"] == named
    assert newest["warm_start"]["sha256"] == kept[step]["sha256"]
    assert newest["warm_start"]["step"] == step
    step = min(kept)
    earlier = api.submit(**warm({"job_id": other["id"], "step": step}))
    assert earlier["warm_start"]["sha256"] == kept[step]["sha256"]
    claimed = claim_of(api, earlier["id"]).warm_start
    assert claimed.architecture == other["config"]["architecture"]


def test_a_running_job_may_be_begun_with(api):
    other = api.submit()
    next(training(api, other["id"]))
    job = api.submit(**warm({"job_id": other["id"]}))
    assert job["warm_start"]["step"] == 3


def test_the_weights_stay_though_their_own_job_has_newer_ones(api):
    other = api.submit(training=SETTINGS | {"epochs": 6})
    reports = training(api, other["id"])
    next(reports)
    job = api.submit(**warm({"job_id": other["id"], "step": 0}))
    for _ in reports:
        pass
    kept = [row["step"] for row in api.get(other["links"]["checkpoints"]).json["items"]]
    assert 0 not in kept
    claimed = claim_of(api, job["id"]).warm_start
    blobs.collect(api.database, older_than_s=-1.0)
    with api.database.read() as session:
        data = blobs.read(session, claimed.blob)
    net = chainrule.Network(job["config"]["architecture"], seed=1)
    found = warm_start(net, Checkpoint.from_bytes(data), claimed.architecture)
    assert found.to_json() == claimed.receipt
    assert (net.flat == chainrule.Network(other["config"]["architecture"]).flat).all()


def test_the_weights_go_with_the_last_job_that_has_them(api):
    other = api.submit(training=SETTINGS | {"epochs": 6})
    reports = training(api, other["id"])
    next(reports)
    job = api.submit(**warm({"job_id": other["id"], "step": 0}))
    blob = job["warm_start"]["sha256"]
    for _ in reports:
        pass

    def drop(uow):
        uow.session.execute(delete(tables.Job).where(tables.Job.id == job["id"]))
        return blobs.discard(uow.session, blob)

    assert api.database.transact(drop)
    with api.database.read() as session:
        assert session.scalar(select(tables.Blob.sha256).where(tables.Blob.sha256 == blob)) is None
        assert session.scalars(select(tables.WarmStart)).all() == []


def test_a_checkpoint_that_goes_while_the_job_is_planned_is_not_begun_with(api, monkeypatch):
    other = api.submit(training=SETTINGS | {"epochs": 6})
    reports = training(api, other["id"])
    next(reports)
    request = api.job_request(**warm({"job_id": other["id"]}))
    planned = []

    def plan(*arguments):
        planned.append(make_plan(*arguments))
        if len(planned) == 1:  # the job goes on just then, and step 3 is dropped
            list(reports)
        return planned[-1]

    make_plan = jobs.plan
    monkeypatch.setattr(jobs, "plan", plan)
    job = jobs.submit(
        api.database,
        api.bell,
        api.settings,
        tenant="default",
        request=JobRequest.model_validate(request),
    )
    steps = [one.warm_start.spec.step for one in planned]
    assert steps == [3, 18]
    assert job.config["training"]["warm_start"]["step"] == 18
    assert job.id == planned[-1].job_id


def test_layers_that_do_not_fit_are_named_with_both_shapes(api):
    model = trained(api)
    job = api.submit(
        **warm({"model_id": model["model_id"]}, architecture=network(8, 5, "auto")),
    )
    assert job["warm_start"]["restored"] == ["dense_1"]
    assert job["warm_start"]["skipped"] == [
        {
            "layer": "dense_2",
            "reason": "kernel: (8, 5) here, (8, 3) in the source; "
            "bias: (5,) here, (3,) in the source",
        },
        {"layer": "dense_3", "reason": "the source has no layer dense_3"},
    ]
    assert job["warm_start"]["unused"] == ["dense_2"]


def test_where_nothing_matches_the_tensors_of_both_are_named(api):
    model = trained(api)
    layers = [{"kind": "dense", "units": "auto", "name": "other"}]
    answer = validated(
        api, **warm({"model_id": model["model_id"]}, architecture={"layers": layers})
    )
    pointer, detail = located(answer)
    assert pointer == "/training/warm_start"
    assert "the network has other.kernel (4, 3), other.bias (3,)" in detail
    assert "the source has dense_1.kernel (4, 8)" in detail


def test_what_is_not_there_is_refused_at_its_place(api):
    waiting = api.submit()
    next(training(api, (running := api.submit())["id"]))
    place = "/training/warm_start/"
    nothing = "0" * 32
    for source, where, said in (
        ({"model_id": f"mdl_{nothing}"}, "model_id", f"no model mdl_{nothing}"),
        ({"job_id": f"job_{nothing}"}, "job_id", f"no job job_{nothing}"),
        ({"job_id": waiting["id"]}, "job_id", f"job {waiting['id']} has no checkpoint"),
        (
            {"job_id": running["id"], "step": 1},
            "step",
            f"job {running['id']} has checkpoints of 0, 3, not of 1",
        ),
    ):
        for query in ("", "?validate_only=true"):
            answer = api.post(f"/v1/jobs{query}", json=api.job_request(**warm(source)))
            assert located(answer) == (place + where, said)


@pytest.mark.parametrize("kind", ["model_id", "job_id"])
def test_what_is_another_tenants_reads_as_if_it_were_not_there(api, kind):
    job = trained(api)
    theirs = {"model_id": job["model_id"], "job_id": job["id"]}[kind]
    missing = theirs[:4] + "0" * 32
    stranger = api.other_tenant()
    dataset = api.post(
        "/v1/datasets", data=b"a,b\n" + b"1,2\n3,4\n" * 20, content_type="text/csv", key=stranger
    ).json["id"]
    answers = []
    for asked in (theirs, missing):
        request = {
            "dataset_id": dataset,
            "data": {"target": "b", "task": "regression"},
            "architecture": network("auto"),
            "training": SETTINGS | {"warm_start": {kind: asked}},
        }
        answer = api.post("/v1/jobs", json=request, key=stranger)
        answers.append(located(answer)[0] + located(answer)[1].replace(asked, "ID"))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("source", "pointer"),
    [
        ({}, "/training/warm_start"),
        ({"model_id": "a", "job_id": "b"}, "/training/warm_start"),
        ({"model_id": "a", "step": 1}, "/training/warm_start"),
        ({"job_id": "a", "step": "1"}, "/training/warm_start/step"),
        ({"job_id": "a", "epoch": 1}, "/training/warm_start/epoch"),
        ("mdl_1", "/training/warm_start"),
    ],
)
def test_a_warm_start_that_is_none_is_refused(api, source, pointer):
    assert located(validated(api, **warm(source)))[0] == pointer
