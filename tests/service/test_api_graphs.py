"""Random architectures over HTTP: good ones get a summary, broken ones a 422 with their place."""

from __future__ import annotations

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
