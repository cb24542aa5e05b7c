"""Networks with several inputs and outputs over HTTP: decided, trained, predicted, refused."""

from __future__ import annotations

import io

import numpy as np
import pytest

import chainrule
from tests.api_testing import trained
from tests.graph_jobs import SIDES, pair_job, pairs
from tests.onnx_running import session


def upload(api, **arrays):
    file = io.BytesIO()
    np.savez(file, **(arrays or pairs()))
    answer = api.upload(file.getvalue(), "application/x-npz")
    assert answer.status_code in (200, 201), answer.text
    return answer.json["id"]


def request(api, **changes):
    return {"dataset_id": upload(api), **pair_job(**changes)}


def planned(api, document):
    answer = api.post("/v1/jobs?validate_only=true", json=document)
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.fixture
def model(api):
    view = trained(api, **request(api))
    return api.get(view["links"]["model"]).json


def test_the_config_comes_back_complete_and_is_a_request_again(api):
    plan = planned(api, request(api))
    config = plan["config"]
    assert config["data"]["inputs"] == {"left": "left", "right": "right"}
    assert config["data"]["target"] == {"same": "same", "far": "far"}
    assert config["data"]["task"] == {"same": "classification", "far": "regression"}
    assert config["training"]["loss"] is None
    assert config["training"]["losses"] == {
        "same": {"kind": "softmax_cross_entropy", "label_smoothing": 0.0},
        "far": {"kind": "huber", "delta": 1.0, "weight": 0.5},
    }
    assert config["architecture"]["inputs"] == {"left": {"shape": [2]}, "right": {"shape": [2]}}
    assert [one.get("units") for one in config["architecture"]["layers"][-2:]] == [2, 1]
    again = {name: part for name, part in config.items() if part is not None}
    assert planned(api, again) == plan


def test_one_loss_is_that_of_every_output_and_a_stored_architecture_takes_arrays_by_name(api):
    inputs = {"right": {"shape": [2]}, "left": {"shape": [2]}}
    stored = api.post("/v1/architectures", json={**SIDES, "inputs": inputs, "layers": [
        *SIDES["layers"][:4],
        {"kind": "dense", "units": 1, "name": "same", "inputs": ["seen"]},
        {"kind": "dense", "units": 1, "name": "far", "inputs": ["seen"]},
    ]})  # fmt: skip
    assert stored.status_code == 201, stored.text
    document = request(api, architecture=None, architecture_id=stored.json["id"])
    del document["architecture"]
    document["training"] = {"loss": "mean_squared_error"}
    document["data"] = {}  # the arrays have the names of the inputs and outputs
    config = planned(api, document)["config"]
    assert config["data"]["inputs"] == {"right": "right", "left": "left"}
    assert config["data"]["target"] == {"same": "same", "far": "far"}
    assert config["training"]["losses"] == {
        name: {"kind": "mean_squared_error"} for name in ("same", "far")
    }


def test_metrics_of_each_output_are_shown_and_told_as_a_table(api):
    view = trained(api, **request(api))
    names = {"loss", "same.loss", "same.accuracy", "far.loss", "far.mse", "far.mae", "far.r2"}
    for part in ("train", "validation"):
        assert set(view["metrics"][part]) == names
        found = view["metrics"][part]
        total = found["same.loss"] + 0.5 * found["far.loss"]
        assert found["loss"] == pytest.approx(total, rel=1e-6)
    metrics = f"{view['links']['self']}/metrics"
    assert set(api.get(metrics).json["items"][-1]["train"]) == names
    table = api.get(metrics, headers={"Accept": "text/csv"})
    head, *rows = table.text.splitlines()
    assert len(rows) == 3
    assert {f"train_{name}" for name in names} <= set(head.split(","))


def test_the_api_predicts_as_the_downloaded_model_does(api, model):
    data = pairs(5, seed=9)
    inputs = {name: data[name].tolist() for name in ("left", "right")}
    answer = api.post(model["links"]["predict"], json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    loaded = chainrule.load(api.get(model["links"]["download"]).data)
    here = loaded.predict(inputs)
    assert answer.json["predictions"]["same"] == here["predictions"]["same"]
    assert answer.json["predictions"]["far"] == here["predictions"]["far"]
    assert answer.json["probabilities"] == here["probabilities"]
    assert set(answer.json["probabilities"]) == {"same"}
    assert answer.json["classes"] == {"same": [0, 1]}
    assert model["preprocessing"]["version"] == 2

    exported = api.get(model["links"]["download"] + "?format=onnx")
    fed = {name: data[name] for name in inputs}
    found = dict(
        zip(("same", "far"), session(exported.data).run(["same", "far"], fed), strict=True)
    )
    for name, raw in loaded.network.predict(fed).items():
        np.testing.assert_allclose(found[name], raw, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "pointer", "says"),
    [
        ({"left": [[1, 2]]}, "/inputs/right", "is missing"),
        ({"left": [[1, 2]], "right": [[1, 2]], "up": [1]}, "/inputs/up", "is not an input"),
        (
            {"left": [[1, 2]], "right": [[1, 2], [1, 2]]},
            "/inputs/right",
            "has 2 rows, 'left' has 1",
        ),
        ({"left": [[1, 2]], "right": [[1, 2, 3]]}, "/inputs/right", "must have shape (rows, 2)"),
        ({"left": [[1, 2], [1, "a"]], "right": [[1, 2]]}, "/inputs/left/1/1", "must be a number"),
        ({"left": [[1, 2], [1]], "right": [[1, 2]]}, "/inputs/left/1", "has shape (1,)"),
        ({"left": 7, "right": [[1, 2]]}, "/inputs/left", "must be a valid array"),
        ([[1, 2]], "/inputs", "must be an object with the arrays 'left', 'right'"),
        ({}, "/inputs", "at least 1"),
    ],
)
def test_inputs_that_the_model_cannot_take_are_refused_at_their_place(
    api, model, inputs, pointer, says
):
    answer = api.post(model["links"]["predict"], json={"inputs": inputs})
    assert answer.status_code == 422, answer.text
    details = {error["pointer"]: error["detail"] for error in answer.json["errors"]}
    assert says in details[pointer], details


def test_several_json_arrays_are_a_dataset_of_them(api):
    rows = {name: array[:40].tolist() for name, array in pairs().items()}
    document = {
        "inputs": {name: rows[name] for name in ("left", "right")},
        "targets": {name: rows[name] for name in ("same", "far")},
    }
    answer = api.post("/v1/datasets", json=document)
    assert answer.status_code == 201, answer.text
    assert [one["name"] for one in answer.json["arrays"]] == ["left", "right", "same", "far"]
    assert planned(api, {"dataset_id": answer.json["id"], **pair_job()})["rows"]["train"] == 32


def test_columns_of_a_table_may_be_several_targets(api):
    layers = [
        {"kind": "dense", "units": 6, "activation": "relu", "name": "seen"},
        {"kind": "dense", "units": "auto", "name": "species"},
        {"kind": "dense", "units": "auto", "name": "height", "inputs": ["seen"]},
    ]
    view = trained(
        api,
        data={"inputs": ["length", "width"], "target": ["species", "height"]},
        architecture={"layers": layers, "outputs": ["species", "height"]},
        training={"epochs": 40, "batch_size": 8, "optimizer": {
            "kind": "adam", "learning_rate": 0.02
        }},
    )  # fmt: skip
    assert view["metrics"]["train"]["species.accuracy"] > 0.9
    found = view["metrics"]["train"]
    assert found["height.r2"] > 0.9
    # In the column's own unit: the loss is of the standardised height.
    assert found["height.mse"] / found["height.loss"] == pytest.approx(6.7, rel=0.3)
    model = api.get(view["links"]["model"]).json
    rows = [{"length": 2.0, "width": -2.0}, {"length": 0.0, "width": 0.0}]
    answer = api.post(model["links"]["predict"], json={"rows": rows}).json
    assert answer["predictions"]["species"] == ["species c", "species a"]
    np.testing.assert_allclose(answer["predictions"]["height"], [6, 0], atol=1.0)
