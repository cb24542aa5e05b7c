"""What a cross-validation is planned to be, and what it refuses."""

from __future__ import annotations

import math

import pytest

from tests.api_testing import flowers, network

SPLIT = {"kind": "k_fold", "folds": 4}


def ask(api, split=SPLIT, *, target="species", data=None, training=None, rows=40):
    document = {
        "dataset_id": api.upload(flowers(rows)).json["id"],
        "data": {"target": target, "split": split, **(data or {})},
        "architecture": network(8, "auto"),
        "training": {"epochs": 3, "batch_size": 8, **(training or {})},
    }
    return api.post("/v1/jobs?validate_only=true", json=document)


def problem(answer):
    assert answer.status_code == 422, answer.text
    (only,) = answer.json["errors"]
    return only["pointer"], only["detail"]


def test_a_plan_has_the_steps_of_every_network(api):
    plan = ask(api).json
    rows = plan["rows"]
    assert rows["validation"] == 0
    whole = rows["train"]
    sizes = [whole // 4 + (fold < whole % 4) for fold in range(4)]
    learnt = [*(whole - size for size in sizes), whole]
    assert plan["steps"] == 3 * sum(math.ceil(each / 8) for each in learnt)
    wanted = {"kind": "k_fold", "folds": 4, "test": 0.1, "stratified": False, "fold": None}
    assert plan["config"]["data"]["split"] == wanted


def test_a_fold_alone_is_one_network(api):
    plan, whole = ask(api, SPLIT | {"fold": 2}).json, ask(api).json
    assert plan["rows"]["train"] + plan["rows"]["validation"] == whole["rows"]["train"]
    assert plan["rows"]["test"] == whole["rows"]["test"]
    assert plan["steps"] == 3 * math.ceil(plan["rows"]["train"] / 8)


@pytest.mark.parametrize(
    ("changes", "place", "says"),
    [
        ({"split": SPLIT | {"folds": 1}}, "/data/split", "2"),
        ({"split": SPLIT | {"folds": 21}}, "/data/split", "20"),
        ({"split": SPLIT | {"fold": 5}}, "/data/split", "fold 5 is none of 4 folds"),
        ({"split": SPLIT | {"folds": 20}, "rows": 15}, "/data/split/folds", "20 folds of 1"),
        (
            {"split": SPLIT | {"stratified": True}, "target": "length"},
            "/data/split/stratified",
            "goes by classes",
        ),
        (
            {"data": {"window": {"length": 3}}, "target": "length"},
            "/data/split/kind",
            "must be time",
        ),
    ],
)
def test_what_does_not_go_is_told_where_it_stands(api, changes, place, says):
    pointer, detail = problem(ask(api, **changes))
    assert pointer.startswith(place)
    assert says in detail


def test_weights_that_may_have_seen_the_folds_are_refused(api):
    source = ask(api)
    assert source.status_code == 200
    job = api.submit()
    warm = {"warm_start": {"job_id": job["id"]}}
    answer = ask(api, training=warm)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["pointer"].startswith("/training/warm_start")
