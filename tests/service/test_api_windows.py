"""Windows, and what is done to samples, as a client asks for them: decided, or refused in place."""

import pytest

from chainrule.spec import PreprocessingSpec
from tests.api_testing import trained

SERIES = "\n".join(["day,shop,price,sales", *(f"{d},{d % 2},{d % 7},{d % 5}" for d in range(100))])
LAYERS = {"layers": [{"kind": "lstm", "units": 4}, {"kind": "dense", "units": "auto"}]}


@pytest.fixture
def ask(api):
    dataset_id = api.upload(SERIES.encode()).json["id"]

    def validate(data, architecture=LAYERS):
        request = {
            "dataset_id": dataset_id,
            "architecture": architecture,
            "data": {"target": "sales", **data},
            "training": {"epochs": 2, "batch_size": 10},
        }
        return api.post("/v1/jobs?validate_only=true", json=request)

    return validate


def test_windows_come_back_decided_and_counted(ask):
    answer = ask({"window": {"length": 4, "group": "shop", "order_by": "day"}})
    assert answer.status_code == 200, answer.text
    found = answer.json
    assert found["config"]["data"] == {
        "inputs": ["price"],
        "target": "sales",
        "sample_weight": None,
        "task": "forecast",
        "window": {
            "kind": "sliding",
            "length": 4,
            "horizon": 1,
            "stride": 1,
            "group": "shop",
            "order_by": "day",
            "past_target": True,
            "padding": None,
            "mask_value": 0.0,
        },
        "preprocessing": PreprocessingSpec().render(),
        "augmentation": [],
        "split": {"kind": "time", "validation": 0.1, "test": 0.1, "column": None},
    }
    # 50 days of each shop: 40, 5 and 5 of them make as many windows less 4.
    assert found["rows"] == {"train": 72, "validation": 2, "test": 2, "dropped": 24}
    assert found["steps"] == 2 * 8
    assert found["config"]["architecture"]["input"]["shape"] == [4, 2]
    again = ask(found["config"]["data"])
    assert again.json["config"] == found["config"]


def test_a_window_of_several_horizons_gives_as_many_values(ask):
    answer = ask({"window": {"length": 4, "horizon": [1, 2, 3]}})
    assert answer.json["config"]["architecture"]["layers"][-1]["units"] == 3


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"window": {"length": 4, "group": "city"}}, "/data/window/group"),
        ({"window": {"length": 30}}, "/data/split"),
        ({"window": {"length": 4}, "split": {"kind": "random"}}, "/data/split/kind"),
        ({"window": {"length": 4, "depth": 1}}, "/data/window/depth"),
        ({"augmentation": [{"kind": "flip"}]}, "/data/augmentation/0"),
        (
            {
                "window": {"length": 4, "padding": "pre"},
                "augmentation": [{"kind": "noise", "stddev": 1}],
            },
            "/data/augmentation/0",
        ),
    ],
)
def test_what_does_not_add_up_is_refused_in_its_place(ask, data, pointer):
    dense = {"layers": [{"kind": "dense", "units": "auto"}]}
    answer = ask(data, LAYERS if "window" in data else dense)
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json["errors"]] == [pointer]


def test_a_prediction_names_its_groups_and_tells_of_short_ones(api):
    dataset = api.upload(SERIES.encode()).json["id"]
    window = {"length": 4, "group": "shop", "order_by": "day"}
    view = trained(
        api,
        dataset_id=dataset,
        data={"target": "sales", "window": window},
        architecture=LAYERS,
        training={"epochs": 1},
    )
    links = api.get(view["links"]["model"]).json["links"]
    rows = [{"day": d, "shop": d % 2, "price": 1, "sales": d} for d in range(9)]
    few = [{"day": d, "shop": 7, "price": 1, "sales": d} for d in range(3)]
    answer = api.post(links["predict"], json={"rows": few + rows}).json
    assert (answer["groups"], len(answer["predictions"])) == ([0, 1], 2)
    assert answer["left_out"] == [{"group": 7, "rows": 3}]
    alone = api.post(links["predict"], json={"rows": rows}).json
    assert (alone["predictions"], "left_out" in alone) == (answer["predictions"], False)
    refused = api.post(links["predict"], json={"rows": few})
    assert (refused.status_code, refused.json["errors"][0]["pointer"]) == (422, "/rows")
    lines = ["day,shop,price,sales", *(f"{r['day']},{r['shop']},1,{r['day']}" for r in few + rows)]
    other = api.upload("\n".join([*lines, "10,,1,1", ""]).encode()).json["id"]
    job = api.post(links["predictions"], json={"dataset_id": other}).json
    assert job["progress"]["rows"] == 2
    assert job["warnings"] == [
        "1 group with 3 rows is too short for a window of 4 rows, and gets no prediction: "
        "7 (3 rows)",
        "1 row has no 'shop', and so no group",
    ]
