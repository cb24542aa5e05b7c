"""Recipes over HTTP: splits, options, several inputs of a table, and raw columns in ONNX."""

from __future__ import annotations

import csv
import io

import numpy as np
import onnx
import pytest
from sklearn.utils.class_weight import compute_class_weight

import chainrule
from tests.api_testing import flowers, network, trained
from tests.onnx_running import session

GARDEN = {
    "inputs": {
        "numbers": ["length", "width", "height"],
        "colour": ["colour"],
    },
    "target": "species",
    "split": {"kind": "stratified", "validation": 0.2, "test": 0.1},
    "preprocessing": {
        "number": {"scaling": "robust", "missing": "median", "indicator": True},
        "columns": {"colour": {"kind": "category", "encoding": "embedding"}},
    },
}
TWO = {
    "layers": [
        {"kind": "embedding", "input_dim": "auto", "output_dim": 2, "inputs": ["colour"]},
        {"kind": "flatten"},
        {"kind": "concat", "inputs": ["flatten_1", "numbers"]},
        {"kind": "dense", "units": 8, "activation": "tanh"},
        {"kind": "dense", "units": "auto"},
    ]
}
ADAM = {"kind": "adam", "learning_rate": 0.02}


def messy():
    """The flowers with holes, and less of one species."""
    head, *lines = flowers(90).decode().splitlines()
    kept = [line for index, line in enumerate(lines) if not line.endswith("c") or index % 2]
    for index in range(0, len(kept), 7):
        cells = kept[index].split(",")
        cells[index % 3] = ""
        kept[index] = ",".join(cells)
    return "\n".join([head, *kept, ""]).encode()


def request(api, **changes):
    dataset = api.upload(messy()).json["id"]
    training = {"epochs": 20, "batch_size": 8, "optimizer": ADAM, "class_weights": "balanced"}
    return {
        "dataset_id": dataset,
        "data": GARDEN,
        "architecture": TWO,
        "training": training,
    } | changes


def planned(api, **changes):
    answer = api.post("/v1/jobs?validate_only=true", json=request(api, **changes))
    assert answer.status_code == 200, answer.text
    return answer.json


def cells():
    return list(csv.DictReader(io.StringIO(messy().decode())))


def test_a_tables_columns_go_into_several_inputs_and_the_config_is_a_request_again(api):
    plan = planned(api)
    config = plan["config"]
    assert config["data"]["inputs"] == GARDEN["inputs"]
    assert config["data"]["split"] == GARDEN["split"]
    options = config["data"]["preprocessing"]
    assert options["number"]["missing"] == {"kind": "median"}
    assert options["columns"]["colour"]["encoding"] == {"kind": "embedding"}
    # three numbers with indicators; blue and white, and 0 for none
    shapes = {name: one["shape"] for name, one in config["architecture"]["inputs"].items()}
    assert shapes == {"numbers": [5], "colour": [1]}
    assert config["architecture"]["layers"][0]["input_dim"] == 3
    again = {name: part for name, part in config.items() if part is not None}
    assert planned(api, **again) == plan


def test_balanced_class_weights_are_scikit_learns_of_the_training_rows(api):
    split = {"kind": "random", "validation": 0, "test": 0}
    plan = planned(api, data={**GARDEN, "split": split})
    species = [row["species"] for row in cells()]
    classes = np.unique(species)
    wanted = compute_class_weight("balanced", classes=classes, y=species)
    np.testing.assert_allclose(plan["config"]["training"]["class_weights"], wanted)
    head, *lines = flowers(30).decode().splitlines()
    text = "\n".join([f"{head},w", *(f"{line},{i % 3}" for i, line in enumerate(lines)), ""])
    weighed = {"target": "species", "sample_weight": "w"}
    dataset = api.upload(text.encode()).json["id"]
    plan = planned(api, dataset_id=dataset, data=weighed, architecture=network("auto"))
    assert "w" not in plan["config"]["data"]["inputs"]
    assert np.mean(plan["config"]["training"]["class_weights"]) == pytest.approx(1, abs=0.1)
    data = {"target": "height", "inputs": ["length"]}
    document = request(api, data=data, architecture=network(1))
    answer = api.post("/v1/jobs?validate_only=true", json=document)
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["pointer"] == "/training/class_weights"


def test_predictions_of_raw_rows_are_the_same_over_http_here_and_through_onnx(api):
    view = trained(api, **request(api))
    model = api.get(view["links"]["model"]).json
    rows = [{**row, "length": None} if row["length"] == "" else row for row in cells()[:20]]
    rows.append({"length": 0.5, "width": -1, "height": 2, "colour": "never seen"})
    answer = api.post(model["links"]["predict"], json={"rows": rows})
    assert answer.status_code == 200, answer.text
    loaded = chainrule.load(api.get(model["links"]["download"]).data)
    assert answer.json == {**loaded.predict(rows)}
    file = api.get(model["links"]["download"] + "?format=onnx&inputs=raw").data
    assert {one.name for one in onnx.load_from_string(file).graph.input} == {
        "length",
        "width",
        "height",
        "colour",
    }
    given = {
        name: np.array([[float(row[name] or "nan")] for row in rows])
        for name in ("length", "width", "height")
    }
    given["colour"] = np.array([[row["colour"]] for row in rows], dtype=object)
    labels, shares = session(file).run(["predictions", "probabilities"], given)
    assert labels.tolist() == answer.json["predictions"]
    np.testing.assert_allclose(shares, answer.json["probabilities"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["mean_squared_error", "poisson"])
def test_a_regression_answers_in_the_targets_units_through_onnx(api, loss):
    data = {"target": "height", "inputs": ["length", "colour"]}
    if loss == "poisson":
        data = {"target": "n", "inputs": ["length"]}
    lines = flowers(30).decode().splitlines()
    text = "\n".join(
        [lines[0] + ",n", *(f"{line},{i % 4}" for i, line in enumerate(lines[1:])), ""]
    )
    dataset = api.upload(text.encode()).json["id"]
    training = {"epochs": 3, "loss": loss}
    view = trained(
        api, dataset_id=dataset, data=data, architecture=network(3, 1), training=training
    )
    links = api.get(view["links"]["model"]).json["links"]
    rows = [{"length": 0.3, "colour": "blue"}, {"length": None, "colour": None}]
    answer = api.post(links["predict"], json={"rows": rows}).json["predictions"]
    given = {"length": np.array([[0.3], [np.nan]])}
    if "colour" in data["inputs"]:
        given["colour"] = np.array([["blue"], [""]], dtype=object)
    (found,) = session(api.get(links["download"] + "?format=onnx&inputs=raw").data).run(None, given)
    np.testing.assert_allclose(found, answer, rtol=1e-5)


def test_what_onnx_cannot_do_is_refused_where_it_is(api):
    options = {"category": {"encoding": {"kind": "hash", "buckets": 3}}}
    data = {"target": "species", "inputs": ["length", "colour"], "preprocessing": options}
    view = trained(api, data=data, architecture=network("auto"))
    links = api.get(view["links"]["model"]).json["links"]
    answer = api.get(links["download"] + "?format=onnx&inputs=raw")
    assert answer.status_code == 422
    (error,) = answer.json["errors"]
    assert error["pointer"] == "/inputs"
    assert error["detail"].startswith("column 'colour' is hashed, which ONNX cannot")
    assert api.get(links["download"] + "?format=onnx").status_code == 200


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"split": {"kind": "column", "column": "part"}}, "/data/split/column"),
        ({"split": {"kind": "column", "column": "colour", "test": ["red"]}}, "/data/split/test/0"),
        ({"split": {"kind": "time", "column": "colour"}}, "/data/split/column"),
        (
            {"preprocessing": {"columns": {"colour": "number"}}},
            "/data/preprocessing/columns/colour/kind",
        ),
        (
            {"preprocessing": {"number": {"scaling": "max"}}},
            "/data/preprocessing/number/scaling",
        ),
        ({"inputs": ["length", "colour"]}, "/data/inputs"),
        (
            {"inputs": {"numbers": ["length", "colour"], "colour": ["width"]}},
            "/data/inputs/numbers",
        ),
    ],
)
def test_what_does_not_fit_is_told_where(api, data, pointer):
    document = request(api, data={**GARDEN, **data})
    answer = api.post("/v1/jobs?validate_only=true", json=document)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


def test_a_class_too_rare_for_a_part_is_warned_of(api):
    text = flowers(60) + b"1,1,blue,1,species z\n"
    data = {"target": "species", "split": {"kind": "stratified"}}
    dataset = api.upload(text).json["id"]
    plan = planned(api, dataset_id=dataset, data=data, architecture=network("auto"))
    assert "data.split: validation has no row of class 'species z'" in plan["warnings"]
    assert "data.split: test has no row of class 'species z'" in plan["warnings"]
