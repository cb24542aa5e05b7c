"""Uploads that a job parses: 202 and what is told until the dataset is ready, or has failed."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from service.store import blobs, transitions
from tests.api_testing import flowers


@pytest.fixture
def api(api):
    """The API of a service for which every file is a large one."""
    parts = api.client.application.extensions["chainrule"]
    settings = replace(parts.settings, parse_inline_bytes=10)
    api.client.application.extensions["chainrule"] = replace(parts, settings=settings)
    return api


def begin(api, job_id):
    return api.database.transact(
        lambda uow: transitions.claim(uow.session, job_id, worker="w", now=time.time())
    )


def parse(api, view):
    """Do what a worker does with the file of ``flowers``."""
    claim = begin(api, view["job_id"])
    parts = api.client.application.extensions["chainrule"]
    path = api.settings.data_dir / "file"
    path.write_bytes(flowers())
    parsed = parts.parser.parse(path, "csv")
    staged = blobs.stage(api.database, parsed.prepared.read_bytes())
    assert api.database.transact(
        lambda uow: transitions.parsed(
            uow.session,
            claim.job_id,
            claim.attempt,
            rows=parsed.rows,
            schema=parsed.schema,
            prepared=staged,
        )
    )


def test_a_large_file_is_at_hand_for_the_workers_of_this_machine(api):
    answer = api.upload()
    assert answer.status_code == 202, answer.text
    folder = api.settings.cache_dir
    found = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
    here = {f"{answer.json['sha256']}.safetensors": flowers()} if api.settings.embedded else {}
    assert found == here
    assert list((api.settings.data_dir / "uploads").iterdir()) == []


def test_a_large_file_is_accepted_and_parsed_by_a_job(api):
    answer = api.upload(name="large")
    assert answer.status_code == 202, answer.text
    view = answer.json
    assert answer.headers["Location"] == view["links"]["self"]
    assert answer.headers["Retry-After"] == "1"
    assert (view["state"], view["rows"], view["bytes"]) == ("parsing", None, len(flowers()))
    assert "columns" not in view
    assert view["progress"] == {
        "byte": 0, "bytes": len(flowers()), "fraction": 0.0, "eta_s": None, "samples_per_s": None,
    }  # fmt: skip
    assert api.bell.rung == [view["job_id"]]
    assert api.get(view["links"]["self"]).json == view
    assert api.get("/v1/datasets").json["items"] == [view]
    job = api.get(view["links"]["job"]).json
    assert (job["kind"], job["state"], job["name"]) == ("parsing", "queued", "large")
    assert (job["dataset_id"], job["progress"]) == (view["id"], view["progress"])
    assert job["links"]["dataset"] == view["links"]["self"]
    assert [one["kind"] for one in api.get("/v1/jobs").json["items"]] == ["parsing"]
    claim = begin(api, view["job_id"])
    api.database.transact(
        lambda uow: transitions.note_parsed(
            uow.session, claim.job_id, claim.attempt, len(flowers()) // 2
        )
    )
    progress = api.get(view["links"]["self"]).json["progress"]
    assert progress["fraction"] == pytest.approx(0.5, abs=1e-3)
    assert progress["eta_s"] > 0


def test_it_is_ready_when_the_job_has_succeeded(api):
    view = api.upload().json
    parse(api, view)
    ready = api.get(view["links"]["self"]).json
    assert (ready["id"], ready["state"], ready["rows"]) == (view["id"], "ready", 60)
    assert len(ready["columns"]) == 5
    assert not {"error", "job_id", "progress"} & set(ready)
    again = api.upload()
    assert (again.status_code, again.json) == (200, ready)
    assert "Retry-After" not in again.headers


def test_the_same_bytes_are_the_same_dataset_and_no_second_job(api):
    first, second = api.upload(), api.upload(name="again")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json == second.json
    assert second.headers["Retry-After"] == "1"
    assert (api.row_counts()["datasets"], api.row_counts()["jobs"]) == (1, 1)


def test_a_named_upload_is_answered_as_it_was(api):
    headers = {"Idempotency-Key": "k1", "Authorization": f"Bearer {api.key}"}
    answers = [
        api.post("/v1/datasets", data=flowers(), content_type="text/csv", headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].data == answers[1].data
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert api.row_counts()["jobs"] == 1


def test_jobs_wait_for_a_dataset_that_is_being_parsed(api):
    view = api.upload().json
    document = {
        "dataset_id": view["id"],
        "data": {"target": "species"},
        "architecture": {"layers": [{"kind": "dense", "units": "auto"}]},
    }
    answer = api.post("/v1/jobs", json=document)
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    assert answer.json["detail"] == f"{view['id']} is still being parsed"
    assert api.post("/v1/jobs?validate_only=true", json=document).status_code == 409
    parse(api, view)
    assert api.post("/v1/jobs", json=document).status_code == 202


def test_a_cancelled_parsing_fails_the_dataset_until_the_bytes_come_again(api):
    view = api.upload().json
    assert api.call("DELETE", view["links"]["self"]).status_code == 409
    job = api.post(view["links"]["job"] + "/cancel").json
    assert job["state"] == "cancelled"
    failed = api.get(view["links"]["self"]).json
    assert (failed["state"], failed["error"]["code"]) == ("failed", "cancelled")
    assert (failed["job_id"], "progress" in failed) == (job["id"], False)
    assert api.get(failed["links"]["content"]).data == flowers()
    answer = api.post("/v1/jobs", json={
        "dataset_id": view["id"], "architecture": {"layers": [{"kind": "dense", "units": 1}]},
    })  # fmt: skip
    assert (answer.status_code, "Retry-After" in answer.headers) == (409, False)
    assert "could not be parsed: the job that was to parse it was cancelled" in answer.text
    again = api.upload()
    assert (again.status_code, again.json["id"]) == (202, view["id"])
    assert again.json["state"] == "parsing"
    assert again.json["job_id"] != job["id"]
    assert "error" not in again.json
    parse(api, again.json)
    assert api.get(view["links"]["self"]).json["state"] == "ready"


def test_a_failed_dataset_is_parsed_again_without_its_bytes(api):
    view = api.upload().json
    api.post(view["links"]["job"] + "/cancel")
    answer = api.post(view["links"]["parse"])
    assert (answer.status_code, answer.json["state"]) == (202, "parsing"), answer.text
    assert answer.json["id"] == view["id"]
    assert answer.json["job_id"] != view["job_id"]
    parse(api, answer.json)
    again = api.post(view["links"]["parse"])
    assert (again.status_code, again.json["state"]) == (200, "ready")
    assert api.post("/v1/datasets/ds_00000000000070008000000000000000/parse").status_code == 404


def test_a_file_is_parsed_with_other_types_into_another_dataset(api):
    view = api.upload().json
    answer = api.post(view["links"]["parse"], query_string={"types": '{"height": "categorical"}'})
    assert (answer.status_code, answer.json["types"]) == (202, {"height": "categorical"})
    assert answer.json["id"] != view["id"]
    assert answer.json["sha256"] == view["sha256"]
    assert api.get(view["links"]["self"]).json["types"] == {}
    refused = api.post(view["links"]["parse"], query_string={"types": '{"height": "colour"}'})
    assert [one["pointer"] for one in refused.json["errors"]] == ["/types/height"]


def test_a_paused_parsing_leaves_the_dataset_as_it_is(api):
    view = api.upload().json
    assert api.post(view["links"]["job"] + "/pause").json["state"] == "paused"
    assert api.get(view["links"]["self"]).json["state"] == "parsing"
    assert api.post(view["links"]["job"] + "/resume").json["state"] == "queued"


def test_a_failed_dataset_goes_when_it_is_deleted_and_its_job_too(api):
    view = api.upload().json
    api.post(view["links"]["job"] + "/cancel")
    assert api.call("DELETE", view["links"]["job"]).status_code == 204
    assert "job_id" not in api.get(view["links"]["self"]).json
    assert api.call("DELETE", view["links"]["self"]).status_code == 204
    assert api.upload().status_code == 202


def test_a_parsing_job_has_no_metrics_and_no_checkpoints(api):
    place = api.upload().json["links"]["job"]
    assert api.get(place + "/metrics").json == {"items": []}
    assert api.get(place + "/checkpoints").json == {"items": []}
    assert api.get(place + "/certificate").status_code == 404


def test_a_small_file_is_parsed_at_once_as_ever(api):
    answer = api.upload(b"a,b\n1,2\n")
    assert (answer.status_code, answer.json["state"]) == (201, "ready")
