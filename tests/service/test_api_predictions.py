"""``/v1/models/{id}/predictions``: what is queued, and what is refused at its place."""

from __future__ import annotations

import time

import numpy as np
import pytest

from service.store import blobs, transitions
from service.store.tables import Dataset, Part
from tests.api_testing import flowers, trained


@pytest.fixture
def model(api):
    return api.get(trained(api)["links"]["model"]).json


def predict(api, model, dataset_id, **document):
    return api.post(model["links"]["predictions"], json={"dataset_id": dataset_id, **document})


def test_a_prediction_is_a_job_of_its_own_kind(api, model):
    dataset = api.upload(flowers(rows=50, seed=5), name="fifty").json
    api.bell.rung.clear()
    answer = predict(api, model, dataset["id"], format="ndjson")
    assert answer.status_code == 202, answer.text
    job = answer.json
    assert answer.headers["Location"] == job["links"]["self"]
    assert api.bell.rung == [job["id"]]
    assert (job["kind"], job["state"], job["model_id"]) == ("prediction", "queued", model["id"])
    assert job["name"] == f"{model['name']} on fifty"
    assert job["progress"] == {
        "row": 0, "rows": 50, "fraction": 0.0, "eta_s": None, "samples_per_s": None,
    }  # fmt: skip
    assert job["config"]["format"] == "ndjson"
    assert "result" not in job
    assert job["links"].keys() == {
        "self", "events", "pause", "resume", "cancel", "model",
    }  # fmt: skip
    assert api.get(job["links"]["self"]).json == job
    assert [one["kind"] for one in api.get("/v1/jobs").json["items"]] == ["prediction", "training"]
    assert api.get(job["links"]["self"] + "/metrics").json == {"items": []}
    assert api.get(job["links"]["self"] + "/checkpoints").json == {"items": []}
    cancelled = api.post(job["links"]["cancel"]).json
    assert cancelled["state"] == "cancelled"
    assert api.post(
        "/v1/jobs", json=api.job_request(training={"warm_start": {"job_id": job["id"]}})
    ).status_code == 422  # fmt: skip


@pytest.mark.parametrize(
    ("table", "detail"),
    [
        ("length,colour\n1,blue\n", "has no column 'width'"),
        ("length,width,colour\n1,wide,blue\n", "column 'width' is text, the model takes numbers"),
        ("a,b\n1,2\n", "has no column 'length'"),
    ],
)
def test_a_dataset_that_the_model_cannot_read_is_refused(api, model, table, detail):
    answer = predict(api, model, api.upload(table.encode()).json["id"])
    assert answer.status_code == 422, answer.text
    assert {error["pointer"] for error in answer.json["errors"]} == {"/dataset_id"}
    assert detail in answer.json["detail"]


def test_arrays_are_refused_by_a_model_of_tables(api, model):
    dataset = api.upload(b'{"inputs": [[1, 2, 3]]}', "application/json").json
    answer = predict(api, model, dataset["id"])
    assert answer.status_code == 422
    assert "has no column 'length'" in answer.json["detail"]


def test_a_format_that_is_not_written_is_refused_with_those_that_are(api, model):
    answer = predict(api, model, api.upload().json["id"], format="xlsx")
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["pointer"] == "/format"
    assert error["detail"] == "must be one of 'csv', 'ndjson', 'npy' or 'parquet', got 'xlsx'"


def test_what_is_not_there_or_another_tenants_is_not_found(api, model):
    dataset_id = api.upload().json["id"]
    nobody = model["links"]["predictions"].replace(model["id"], "mdl_" + "0" * 32)
    assert api.post(nobody, json={"dataset_id": dataset_id}).status_code == 404
    assert predict(api, model, "ds_" + "0" * 32).status_code == 404
    other = api.other_tenant()
    for path in (model["links"]["predictions"], nobody):
        answer = api.post(path, json={"dataset_id": dataset_id}, key=other)
        assert answer.status_code == 404


# The transitions of a prediction: what a worker does, one at a time.


@pytest.fixture
def running(api, model):
    """A prediction of 50 rows whose first attempt has begun: the database, and its claim."""
    job_id = predict(api, model, api.upload(flowers(rows=50, seed=5)).json["id"]).json["id"]
    claim = begin(api.database, job_id)
    return api.database, claim


def begin(database, job_id):
    return database.transact(
        lambda uow: transitions.claim(uow.session, job_id, worker="w", now=time.time())
    )


def commit(database, claim, prev, step, data=b"rows"):
    staged = [blobs.stage(database, data + bytes([n])) for n in range(3)]
    return database.transact(
        lambda uow: transitions.commit_part(
            uow.session, claim.job_id, claim.attempt, prev=prev, step=step, streams=staged
        )
    )


def deliver(database, claim, data=b"p\n1\n"):
    new = transitions.NewDataset(
        blobs.stage(database, data), blobs.stage(database, b"tensors"), "out", "csv", 50, {}
    )
    return database.transact(
        lambda uow: transitions.deliver(uow.session, claim.job_id, claim.attempt, new)
    )


def count(api, table):
    return api.row_counts()[table.__tablename__]


def test_a_claim_tells_what_is_to_be_predicted(running):
    _, claim = running
    assert (claim.kind, claim.steps, claim.max_seconds) == ("prediction", 50, None)
    assert claim.schema["kind"] == "table"
    assert claim.warm_start is not None


def test_parts_are_committed_once_and_in_order(api, running):
    database, claim = running
    assert commit(database, claim, 0, 20) is not None
    assert commit(database, claim, 0, 20) is not None, "its answer was lost: it had happened"
    assert commit(database, claim, 0, 30) is None
    assert commit(database, claim, 10, 30) is None
    assert count(api, Part) == 3


def test_a_superseded_attempt_writes_neither_parts_nor_a_result(api, running):
    database, claim = running
    datasets = count(api, Dataset)
    assert commit(database, claim, 0, 50) is not None
    database.transact(lambda uow: transitions.release(uow.session, claim.job_id, claim.attempt))
    again = begin(database, claim.job_id)
    assert (again.attempt, again.step) == (2, 50)
    assert commit(database, claim, 50, 50) is None
    assert not deliver(database, claim)
    assert count(api, Dataset) == datasets
    assert deliver(database, again)
    assert (count(api, Dataset), count(api, Part)) == (datasets + 1, 0)
    assert deliver(database, again) is False, "a final job ends once"


def test_no_result_is_delivered_before_all_rows_are_there(api, running):
    database, claim = running
    datasets = count(api, Dataset)
    assert commit(database, claim, 0, 20) is not None
    assert not deliver(database, claim)
    assert (count(api, Dataset), count(api, Part)) == (datasets, 3)


def test_a_result_that_is_there_already_is_the_same_dataset(api, running):
    database, claim = running
    known = api.upload(b"p\n1\n").json
    assert commit(database, claim, 0, 50) is not None
    assert deliver(database, claim)
    job = api.get(f"/v1/jobs/{claim.job_id}").json
    assert (job["state"], job["result"]) == ("succeeded", {"dataset_id": known["id"]})
    assert job["links"]["result"] == known["links"]["self"]
    assert api.get(job["links"]["result"] + "/content").data == b"p\n1\n"


def test_a_large_dataset_is_downloaded_in_pieces_whole_or_in_part(api):
    data = b"a\n" + b"".join(b"%d\n" % n for n in np.arange(300_000))
    dataset = api.upload(data).json
    path = dataset["links"]["content"]
    assert len(data) > 2**20
    whole = api.get(path)
    assert (whole.data, whole.headers["ETag"]) == (data, f'"{dataset["sha256"]}"')
    assert whole.content_length == len(data)
    part = api.get(path, headers={"Range": "bytes=1048570-1048585"})
    assert (part.status_code, part.data) == (206, data[1048570:1048586])
    assert part.headers["Content-Range"] == f"bytes 1048570-1048585/{len(data)}"
    tail = api.get(path, headers={"Range": "bytes=-5"})
    assert tail.data == data[-5:]
    assert api.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert api.get(path, headers={"Range": f"bytes={len(data)}-"}).status_code == 416
