"""``/v1/models``: look, download, predict.  And the system's own routes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json

import numpy as np
import onnx
import pytest
from safetensors.numpy import load
from sqlalchemy import update

import chainrule
from service.store.tables import Job
from tests.api_testing import flowers, trained
from tests.onnx_running import session


@pytest.fixture
def model(api):
    view = trained(
        api,
        training={
            "epochs": 40,
            "batch_size": 8,
            "optimizer": {"kind": "adam", "learning_rate": 0.02},
        },
    )
    return api.get(view["links"]["model"]).json


def rows():
    return [
        {"length": float(row["length"]), "width": float(row["width"]), "colour": row["colour"]}
        for row in csv.DictReader(io.StringIO(flowers().decode()))
    ]


def test_a_model_tells_what_it_is(api, model):
    assert model["formats"] == ["bundle", "safetensors", "npz", "onnx"]
    assert model["spec"]["layers"][1]["units"] == 3
    assert set(model["metrics"]) == {"train", "validation", "test"}
    assert model["preprocessing"]
    assert len(model["sha256"]) == 64
    assert api.get("/v1/models").json["items"] == [model]


def test_a_model_is_downloaded_whole_or_as_weights(api, model):
    bundle = api.get(model["links"]["download"])
    assert bundle.mimetype == "application/zip"
    assert bundle.headers["Content-Disposition"] == f"attachment; filename={model['id']}.zip"
    digest = hashlib.sha256(bundle.data)
    assert bundle.headers["ETag"] == f'"{digest.hexdigest()}"'
    encoded = base64.b64encode(digest.digest()).decode()
    assert bundle.headers["Repr-Digest"] == f"sha-256=:{encoded}:"
    assert len(bundle.data) == model["bytes"]

    weights = api.get(model["links"]["download"] + "?format=safetensors").data
    assert hashlib.sha256(weights).hexdigest() == model["sha256"]
    arrays = np.load(io.BytesIO(api.get(model["links"]["download"] + "?format=npz").data))
    tensors = load(weights)
    assert sorted(arrays.files) == sorted(tensors)
    for name in arrays.files:
        np.testing.assert_array_equal(arrays[name], tensors[name])

    tag = {"If-None-Match": bundle.headers["ETag"]}
    assert api.get(model["links"]["download"], headers=tag).status_code == 304
    assert api.get(model["links"]["download"] + "?format=h5").status_code == 422


def test_the_api_predicts_as_the_downloaded_model_does(api, model):
    answer = api.post(model["links"]["predict"], json={"rows": rows()})
    assert answer.status_code == 200, answer.text
    here = chainrule.load(api.get(model["links"]["download"]).data).predict(rows())
    assert answer.json["predictions"] == here["predictions"]
    np.testing.assert_allclose(answer.json["probabilities"], here["probabilities"], rtol=1e-6)
    truth = [row["species"] for row in csv.DictReader(io.StringIO(flowers().decode()))]
    right = sum(a == b for a, b in zip(answer.json["predictions"], truth, strict=True))
    assert right / len(truth) > 0.9


REFUSED = [
    ({"rows": [{"length": 1, "width": 1}]}, "/rows/0/colour"),
    ({"rows": [{"length": "tall", "width": 1, "colour": "blue"}]}, "/rows/0/length"),
    ({"rows": [{"length": 1, "width": 1, "colour": "blue", "age": 1}]}, "/rows/0/age"),
    ({"rows": [{"length": [1], "width": 1, "colour": "blue"}]}, "/rows/0/length"),
    ({"rows": []}, "/rows"),
    ({"inputs": [[1, 2]]}, "/inputs/0"),
    ({}, ""),
    ({"rows": [{}], "inputs": [[1]]}, ""),
    ({"columns": []}, "/columns"),
]


def test_rows_that_the_model_cannot_take_are_refused_at_their_place(api, model):
    for body, pointer in REFUSED:  # one model for all
        answer = api.post(model["links"]["predict"], json=body)
        assert answer.status_code == 422, (body, answer.text)
        assert pointer in {error["pointer"] for error in answer.json["errors"]}, (body, answer.json)


def test_a_missing_value_is_no_error(api, model):
    row = {"length": None, "width": 1, "colour": None}
    answer = api.post(model["links"]["predict"], json={"rows": [row]})
    assert answer.status_code == 200, answer.text
    assert len(answer.json["predictions"]) == 1


def test_health_needs_no_key_and_readiness_names_what_is_missing(api):
    assert api.get("/healthz", key=None).json == {"status": "ok"}
    answer = api.get("/readyz", key=None)
    assert answer.status_code == 200
    assert answer.json["database"] == answer.json["broker"] == "ok"
    assert answer.json["worker"] != "ok"


def test_without_its_database_the_service_is_not_ready_and_says_so(api):
    def away(*_: object) -> None:
        from service.errors import UnavailableError

        raise UnavailableError("the database does not answer")

    api.database.read = away
    ready = api.get("/readyz", key=None)
    assert ready.status_code == 503
    assert ready.json["database"] == "the database does not answer"
    answer = api.get("/v1/jobs")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.mimetype == "application/problem+json"
    assert api.get("/healthz", key=None).status_code == 200


def test_the_system_tells_its_versions(api):
    view = api.get("/v1/system").json
    assert view["chainrule"] == "0.1.0"
    assert view["database"] in ("sqlite", "postgresql")
    assert view["fingerprint"].endswith(f"kernels {view['kernels']}")
    assert view["kernels"].startswith("native ") or view["kernels"] == "numpy"


def test_prometheus_reads_what_the_database_counts(api):
    job = api.submit()
    other = api.submit()
    api.database.transact(
        lambda uow: uow.session.execute(
            update(Job).where(Job.id.in_([job["id"], other["id"]])).values(crashes=1)
        )
    )
    api.post(job["links"]["cancel"])
    answer = api.get("/metrics")
    assert answer.mimetype == "text/plain"
    lines = answer.text.splitlines()
    assert 'chainrule_jobs{state="queued"} 1.0' in lines
    assert 'chainrule_jobs{state="cancelled"} 1.0' in lines
    assert 'chainrule_jobs{state="failed"} 0.0' in lines
    assert "chainrule_datasets 1.0" in lines
    assert "chainrule_jobs_recovering 1.0" in lines  # the other one has ended
    assert any(line.startswith("chainrule_oldest_queued_seconds ") for line in lines)


def test_a_downloaded_onnx_file_takes_features_and_gives_raw_outputs(api, model):
    answer = api.get(model["links"]["download"] + "?format=onnx")
    assert answer.headers["Content-Disposition"].endswith(f"filename={model['id']}.onnx")
    bundle = chainrule.load(api.get(model["links"]["download"]).data)
    features = bundle.recipe.apply_rows(rows(), "float32")
    (raw,) = session(answer.data).run(None, {"input": features})
    np.testing.assert_allclose(raw, bundle.network.predict(features), rtol=1e-4, atol=1e-6)
    (recipe,) = onnx.load_from_string(answer.data).metadata_props
    assert (recipe.key, json.loads(recipe.value)) == ("recipe", model["preprocessing"])
