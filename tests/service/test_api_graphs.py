"""Random architectures over HTTP: good ones get a summary, broken ones a 422 with their place."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.engine.random_graphs import broken_graphs, graphs

few = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@few
@given(graphs())
def test_a_random_graph_is_summed_up(api, document):
    answer = api.post("/v1/architectures?validate_only=true", json=document)
    assert answer.status_code == 200, answer.json
    rows = answer.json["summary"]["layers"]
    assert [row["kind"] for row in rows] == [layer["kind"] for layer in document["layers"]]


@few
@given(broken_graphs())
def test_a_broken_graph_is_a_422_that_names_its_place(api, document):
    answer = api.post("/v1/architectures?validate_only=true", json=document)
    assert answer.status_code == 422, answer.json
    assert answer.json["errors"]
    for error in answer.json["errors"]:
        assert error["pointer"].startswith(("/layers/", "/outputs/", "/input"))
        assert error["detail"]


TWO_INPUTS = {"left": {"shape": [3]}, "right": {"shape": [3]}}


@pytest.mark.parametrize("query", ["", "?validate_only=true"])
@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        (
            {"inputs": TWO_INPUTS, "layers": [{"kind": "dense", "units": 2, "inputs": ["left"]}]},
            "/inputs/right",
        ),
        (
            {"layers": [{"kind": "flatten"}, {"kind": "flatten", "inputs": ["nowhere"]}]},
            "/layers/1/inputs/0",
        ),
        (
            {
                "input": {"shape": [8, 8, 3]},
                "layers": [{"kind": "up_sampling2d", "size": 1024}] * 1000,
            },
            "/layers/1",
        ),
    ],
)
def test_no_graph_that_does_not_add_up_is_stored(api, document, pointer, query):
    answer = api.post(f"/v1/architectures{query}", json=document)
    assert answer.status_code == 422, answer.json
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]
    assert api.get("/v1/architectures").json["items"] == []


def test_a_graph_of_several_inputs_is_summed_up(api):
    layers = [{"kind": "add", "inputs": list(TWO_INPUTS)}, {"kind": "dense", "units": 2}]
    answer = api.post("/v1/architectures", json={"inputs": TWO_INPUTS, "layers": layers})
    assert answer.status_code == 201, answer.json
    assert answer.json["summary"]["parameters"] == 3 * 2 + 2
