"""``/v1/jobs``: submit, watch, cancel."""

from __future__ import annotations

import csv
import io
import re
import time
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from chainrule.certificate import certify
from chainrule.checkpoint import Checkpoint
from chainrule.spec import ArchitectureSpec, parse
from service.actions import jobs
from service.app import create_app
from service.store import transitions
from service.store.tables import Job, Model
from tests.api_testing import network, trained, training

VIEW = {
    "kind",
    "id",
    "name",
    "state",
    "attempt",
    "dataset_id",
    "queue_position",
    "progress",
    "metrics",
    "best",
    "cross_validation",
    "error",
    "model_id",
    "config",
    "warnings",
    "warm_start",
    "created_at",
    "started_at",
    "ended_at",
    "transitions",
    "links",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_job_is_queued_and_the_bell_rings_once_it_can_be_seen(api):
    answer = api.post("/v1/jobs", json=api.job_request(name="iris"))
    assert answer.status_code == 202, answer.text
    job = answer.json
    assert answer.headers["Location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert set(job) == VIEW
    assert (job["name"], job["state"], job["attempt"]) == ("iris", "queued", 0)
    assert job["queue_position"] == 1
    assert TIME.fullmatch(job["created_at"])
    assert job["started_at"] is job["ended_at"] is job["metrics"] is job["error"] is None
    assert job["progress"] == {
        "epoch": 0,
        "epochs": 2,
        "step": 0,
        "steps": 6,
        "fraction": 0.0,
        "eta_s": None,
        "samples_per_s": None,
    }
    assert [change["to_state"] for change in job["transitions"]] == ["queued"]
    assert api.bell.rung == [job["id"]]


def test_every_default_comes_back_rendered(api):
    config = api.submit()["config"]
    assert config["data"]["task"] == "classification"
    assert config["data"]["split"] == {"kind": "random", "validation": 0.1, "test": 0.1}
    loss = {"kind": "softmax_cross_entropy", "label_smoothing": 0.0}
    assert config["training"]["loss"] == loss
    assert config["training"]["optimizer"]["kind"] == "adam"
    assert config["architecture"]["input"] == {"shape": [4]}
    assert [layer["units"] for layer in config["architecture"]["layers"]] == [8, 3]


def test_validating_a_job_tells_what_it_would_take_and_stores_nothing(api):
    request = api.job_request()
    before = api.row_counts()
    answer = api.post("/v1/jobs?validate_only=true", json=request)
    assert answer.status_code == 200, answer.text
    plan = answer.json
    assert plan["config"] == api.submit()["config"]
    assert plan["summary"]["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert plan["memory_bytes"] > plan["summary"]["memory_bytes"]
    assert plan["steps"] == 6
    assert plan["rows"]["train"] == 48
    assert 0 <= plan["seconds"] < 1
    assert api.row_counts() == before | {name: before[name] + 1 for name in ("jobs", "job_events")}
    assert len(api.bell.rung) == 1


def test_the_queue_is_counted_from_one(api):
    first, second = api.submit(), api.submit()
    assert (first["queue_position"], second["queue_position"]) == (1, 2)
    assert api.post(f"/v1/jobs/{first['id']}/cancel").json["queue_position"] is None
    assert api.get(f"/v1/jobs/{second['id']}").json["queue_position"] == 1


def test_a_running_job_shows_how_far_it_is(api):
    job = api.submit(training={"epochs": 4, "batch_size": 16})
    reports = training(api, job["id"])
    report = next(reports)
    view = api.get(job["links"]["self"]).json
    assert (view["state"], view["attempt"]) == ("running", 1)
    assert view["progress"]["epoch"] == 1
    assert view["progress"]["step"] == 3
    assert view["progress"]["fraction"] == 0.25
    assert view["progress"]["samples_per_s"] == pytest.approx(report.samples_per_s)
    assert view["progress"]["eta_s"] == pytest.approx(3 * report.seconds, abs=1e-3)
    assert view["metrics"]["train"]["loss"] == pytest.approx(report.train["loss"])
    assert TIME.fullmatch(view["started_at"])
    reports.close()


def test_a_certificate_is_there_once_the_job_has_begun(api):
    job = api.submit()
    address = job["links"]["certificate"]
    missing = api.get(address)
    assert missing.status_code == 404
    assert "yet" in missing.json["detail"]
    claim = api.database.transact(
        lambda uow: transitions.claim(uow.session, job["id"], worker="here", now=time.time())
    )
    spec = parse(ArchitectureSpec, claim.config["architecture"])
    certificate = certify(spec, "softmax_cross_entropy", 0)
    api.database.transact(
        lambda uow: transitions.certify(uow.session, claim.job_id, claim.attempt, certificate)
    )
    answer = api.get(address)
    assert (answer.status_code, answer.json) == (200, certificate)
    assert (answer.json["status"], len(answer.json["layers"])) == ("passed", 2)


def test_a_job_that_ended_before_it_began_has_no_certificate(api):
    job = api.submit()
    api.post(job["links"]["cancel"])
    answer = api.get(job["links"]["certificate"])
    assert answer.status_code == 404
    assert "ended without one" in answer.json["detail"]


def test_an_evaluation_is_there_once_the_job_has_succeeded(api):
    data = {"inputs": ["length", "width", "colour"], "target": "species"}
    job = api.submit(
        training={"epochs": 4, "batch_size": 16},
        data={**data, "split": {"validation": 0.1, "test": 0.5}},
    )
    address = job["links"]["evaluation"]
    missing = api.get(address)
    assert missing.status_code == 404
    assert "yet" in missing.json["detail"]
    for _ in training(api, job["id"]):
        pass
    answer = api.get(address)
    assert answer.status_code == 200
    with api.database.read() as session:
        stored = session.scalar(select(Job.evaluation).where(Job.id == job["id"]))
    assert answer.json == stored
    assert (stored["status"], stored["judged"]) == ("complete", "test")
    (output,) = stored["outputs"].values()
    assert {one["column"] for one in output["slices"]["items"]} == {"length", "width", "colour"}
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert api.get(address, headers=tag).status_code == 304
    model = api.get(api.get(job["links"]["self"]).json["links"]["model"]).json
    again = api.get(model["links"]["evaluation"])
    assert (again.json, again.headers["ETag"]) == (answer.json, answer.headers["ETag"])
    api.call("DELETE", job["links"]["self"])
    assert api.get(model["links"]["evaluation"]).json == answer.json


def test_a_job_that_ended_otherwise_has_no_evaluation(api):
    job = api.submit()
    api.post(job["links"]["cancel"])
    answer = api.get(job["links"]["evaluation"])
    assert answer.status_code == 404
    assert "ended without one" in answer.json["detail"]


def test_a_model_of_an_older_version_has_no_evaluation(api):
    job = trained(api)
    api.database.transact(lambda uow: uow.session.execute(update(Model).values(evaluation=None)))
    answer = api.get(f"/v1/models/{job['model_id']}/evaluation")
    assert answer.status_code == 404
    assert "evaluation" in answer.json["detail"]


def test_a_check_of_the_gradients_is_one_of_three_words(api):
    config = api.submit(training={"gradient_check": "enforce", "epochs": 1})["config"]
    assert config["training"]["gradient_check"] == "enforce"
    refused = api.post("/v1/jobs", json=api.job_request(training={"gradient_check": "on"}))
    assert refused.status_code == 422
    assert refused.json["errors"][0]["pointer"] == "/training/gradient_check"


def test_a_job_that_succeeded_names_its_model(api):
    view = trained(api)
    assert view["state"] == "succeeded"
    assert view["progress"]["fraction"] == 1.0
    assert view["progress"]["eta_s"] is None
    assert set(view["metrics"]) == {"train", "validation", "test"}
    assert "accuracy" in view["metrics"]["test"]
    assert view["best"]["loss"] > 0
    assert [t["to_state"] for t in view["transitions"]] == ["queued", "running", "succeeded"]
    assert TIME.fullmatch(view["ended_at"])
    model = api.get(view["links"]["model"])
    assert (model.status_code, model.json["job_id"]) == (200, view["id"])


def test_an_unchanged_job_costs_an_empty_answer(api):
    job = api.submit(training={"epochs": 3, "batch_size": 16})
    tags = set()

    def look(expected):
        """Read the job; its tag must be new, and hold until something changes."""
        answer = api.get(job["links"]["self"])
        tag = answer.headers["ETag"]
        assert tag.startswith('"')
        assert tag not in tags
        tags.add(tag)
        assert answer.json["state"] == expected
        again = api.get(job["links"]["self"], headers={"If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == tag
        same = api.get(job["links"]["self"])
        assert same.json == answer.json

    look("queued")
    reports = training(api, job["id"])
    next(reports)
    look("running")
    next(reports)
    look("running")
    api.post(job["links"]["cancel"])
    look("running")
    for _ in reports:
        pass
    look("succeeded")


def test_a_remembered_job_is_not_shown_to_another_tenant(api):
    job = api.submit()
    stranger = api.other_tenant()
    tag = api.get(job["links"]["self"]).headers["ETag"]
    assert api.get(job["links"]["self"], headers={"If-None-Match": tag}).status_code == 304
    for headers in ({}, {"If-None-Match": tag}, {"If-None-Match": "*"}):
        assert api.get(job["links"]["self"], key=stranger, headers=headers).status_code == 404


def test_what_one_application_remembers_is_what_another_reads(api, parser):
    job = api.submit(training={"epochs": 3, "batch_size": 16})
    for _ in training(api, job["id"]):
        api.get(job["links"]["self"])
        remembered = api.get(job["links"]["self"])
        app = create_app(api.settings, api.database, api.bell, parser)
        fresh = replace(api, client=app.test_client()).get(job["links"]["self"])
        assert (fresh.headers["ETag"], fresh.data) == (remembered.headers["ETag"], remembered.data)
        assert fresh.content_type == remembered.content_type == "application/json"


def test_a_job_that_moves_on_while_it_is_read_has_the_tag_of_what_is_shown(api, monkeypatch):
    job = api.submit()
    reports = training(api, job["id"])
    version, moved = jobs.current_version, []

    def moving(*args):
        seen = version(*args)
        if not moved:
            moved.append(next(reports))
        return seen

    monkeypatch.setattr(jobs, "current_version", moving)
    shown = api.get(job["links"]["self"])
    assert shown.json["progress"]["epoch"] == 1
    tag = {"If-None-Match": shown.headers["ETag"]}
    assert api.get(job["links"]["self"], headers=tag).status_code == 304
    assert api.get(job["links"]["self"]).data == shown.data
    reports.close()


def test_the_jobs_ahead_change_the_tag_of_a_queued_one(api):
    first, second = api.submit(), api.submit()
    before = api.get(second["links"]["self"]).headers["ETag"]
    api.post(first["links"]["cancel"])
    answer = api.get(second["links"]["self"], headers={"If-None-Match": before})
    assert answer.status_code == 200
    assert answer.json["queue_position"] == 1


def test_a_waiting_job_is_cancelled_at_once_and_again_changes_nothing(api):
    job = api.submit()
    for _ in range(2):
        answer = api.post(job["links"]["cancel"])
        assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert answer.json["ended_at"]
    assert [t["to_state"] for t in answer.json["transitions"]] == ["queued", "cancelled"]


def test_a_job_that_succeeded_cannot_be_cancelled(api):
    view = trained(api)
    answer = api.post(view["links"]["cancel"])
    assert answer.status_code == 409
    assert "succeeded" in answer.json["detail"]


def test_a_failed_job_says_why(api):
    job = api.submit()
    next(training(api, job["id"]))
    error = {"code": "diverged", "detail": "the loss is not finite", "epoch": 1, "step": 2}
    api.database.transact(lambda uow: transitions.fail(uow.session, job["id"], 1, error))
    view = api.get(job["links"]["self"]).json
    assert (view["state"], view["error"]) == ("failed", error)


def test_jobs_are_listed_newest_first_and_by_filter(api):
    made = [api.submit(name=f"job {n % 2}") for n in range(4)]
    api.post(made[0]["links"]["cancel"])

    def ids(**query):
        return [item["id"] for item in api.get("/v1/jobs", query_string=query).json["items"]]

    all_ids = [job["id"] for job in made][::-1]
    assert ids() == all_ids
    assert ids(state="cancelled") == [made[0]["id"]]
    assert ids(state="queued") == all_ids[:3]
    assert ids(name="job 1") == [made[3]["id"], made[1]["id"]]
    assert ids(dataset_id=made[0]["dataset_id"]) == all_ids
    assert ids(dataset_id="ds_other") == []
    first = api.get("/v1/jobs?limit=1&state=queued")
    assert first.headers["Link"].count("state=queued") == 1
    assert "config" not in first.json["items"][0]


def test_a_job_that_stopped_early_is_all_done(api):
    training = {"epochs": 500, "batch_size": 16, "early_stopping": {"patience": 1}}
    training["optimizer"] = {"kind": "adam", "learning_rate": 0.5}
    view = trained(api, training=training)
    progress = view["progress"]
    assert view["state"] == "succeeded"
    assert (progress["epochs"], progress["fraction"], progress["eta_s"]) == (500, 1.0, None)
    assert progress["step"] == progress["steps"] == 3 * progress["epoch"] < 1500


def test_metrics_are_one_row_for_each_epoch_and_can_be_thinned(api):
    view = trained(api, training={"epochs": 9, "batch_size": 16})
    rows = api.get(view["links"]["metrics"]).json["items"]
    assert [row["epoch"] for row in rows] == list(range(1, 10))
    assert rows[0]["step"] == 3
    assert {"loss", "accuracy"} <= set(rows[0]["train"])
    assert rows[-1]["train"]["loss"] < rows[0]["train"]["loss"]
    thin = api.get(view["links"]["metrics"] + "?max_points=3").json["items"]
    assert [row["epoch"] for row in thin] == [1, 5, 9]
    assert len(api.get(view["links"]["metrics"] + "?max_points=100").json["items"]) == 9


def test_metrics_come_as_a_table_to_whom_asks_for_one(api):
    view = trained(api)
    answer = api.get(view["links"]["metrics"], headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    items = api.get(view["links"]["metrics"]).json["items"]
    assert [float(row["train_loss"]) for row in rows] == [i["train"]["loss"] for i in items]
    assert {"epoch", "step", "validation_accuracy", "learning_rate"} <= set(rows[0])


def test_a_job_without_epochs_has_an_empty_table(api):
    job = api.submit()
    answer = api.get(job["links"]["metrics"], headers={"Accept": "text/csv"})
    assert answer.text == "epoch\r\n"
    assert api.get(job["links"]["metrics"]).json == {"items": []}


def test_kept_checkpoints_can_be_downloaded(api):
    view = trained(api, training={"epochs": 5, "batch_size": 16})
    kept = api.get(view["links"]["checkpoints"]).json["items"]
    assert [row["step"] for row in kept][-2:] == [12, 15]
    assert view["best"]["step"] in {row["step"] for row in kept}
    answer = api.get(kept[-1]["links"]["download"])
    assert answer.headers["ETag"] == f'"{kept[-1]["sha256"]}"'
    assert len(answer.data) == kept[-1]["bytes"]
    assert Checkpoint.from_bytes(answer.data).loop["step"] == 15
    missing = api.get(view["links"]["self"] + "/checkpoints/3/download")
    assert missing.status_code == 404


def test_a_diverging_number_is_null_and_never_nan(api):
    job = api.submit()
    next(training(api, job["id"]))
    nan = {"code": "diverged", "detail": "x", "loss": float("nan")}
    api.database.transact(lambda uow: transitions.fail(uow.session, job["id"], 1, nan))
    answer = api.get(job["links"]["self"])
    assert answer.json["error"]["loss"] is None
    assert "NaN" not in answer.text


def test_a_regression_of_two_columns_is_accepted(api):
    job = api.submit(
        data={"inputs": ["length", "width"], "target": "height"}, architecture=network(4, 1)
    )
    assert job["config"]["training"]["loss"] == {"kind": "mean_squared_error"}
