"""Recipes of networks with several inputs and outputs: what belongs to each goes by its name."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule
from chainrule.bundle import write_bundle
from chainrule.errors import CheckpointError, DataError, SpecError
from chainrule.network import Network
from chainrule.recipe import Recipe
from chainrule.spec import DataSpec, SplitSpec

NO_SPLIT = SplitSpec(validation=0.0, test=0.0)
SIDES, HEADS = ("left", "right"), ("kind", "size")


def arrays(**tensors):
    entries = [
        {"name": n, "shape": list(t.shape), "dtype": str(t.dtype)} for n, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    return tensors, {"kind": "arrays", "rows": rows, "arrays": entries, "warnings": []}


def pairs(rows=20, **more):
    rng = np.random.default_rng(0)
    return arrays(
        left=rng.standard_normal((rows, 3)).astype(np.float32),
        right=rng.standard_normal((rows, 2)).astype(np.float32),
        kind=np.arange(rows) % 3,
        size=rng.standard_normal(rows).astype(np.float32),
        **more,
    )


def fit(data, *, loss=None, outputs=HEADS, **spec):
    """Fit for a network whose inputs are ``SIDES``; return the recipe and the decided request."""
    return Recipe.fit(*data, DataSpec(**spec), seed=0, loss=loss, inputs=SIDES, outputs=outputs)


def refused(data, **request):
    with pytest.raises(SpecError) as error:
        fit(data, **request)
    return str(error.value)


def test_arrays_go_into_the_inputs_of_their_names_and_targets_to_the_outputs_in_order():
    data = pairs()
    recipe, decided = fit(data, inputs=["right", "left"], target=["kind", "size"])
    assert recipe.version == 2
    assert recipe.input_shape == {"left": (3,), "right": (2,)}
    assert recipe.output_shape == {"kind": (3,), "size": (1,)}
    x, y = recipe.apply(data[0])
    assert {name: array.shape for name, array in x.items()} == {"left": (20, 3), "right": (20, 2)}
    np.testing.assert_array_equal(x["left"], data[0]["left"])
    np.testing.assert_array_equal(y["kind"], data[0]["kind"])
    np.testing.assert_array_equal(y["size"][:, 0], data[0]["size"].astype(np.float64))
    assert decided.render() == {
        "inputs": {"left": "left", "right": "right"},
        "target": {"kind": "kind", "size": "size"},
        "sample_weight": None,
        "task": {"kind": "classification", "size": "regression"},
        "split": {"kind": "random", "validation": 0.1, "test": 0.1},
        "preprocessing": None,
        "window": None,
        "augmentation": [],
    }
    assert recipe.loss == {"kind": "softmax_cross_entropy", "size": "mean_squared_error"}
    again = Recipe.fit(*data, decided, seed=0, inputs=SIDES, outputs=HEADS)
    assert again == (recipe, decided)


def test_what_has_the_names_of_inputs_and_outputs_needs_not_be_named():
    data = pairs()
    assert fit(data)[0] == fit(data, target={"size": "size", "kind": "kind"})[0]


def test_the_data_names_the_inputs_that_the_network_leaves_open():
    data = pairs()
    spec = DataSpec(inputs=["right", "left"], target="size")
    recipe, decided = Recipe.fit(*data, spec, seed=0)
    assert list(recipe.input_shape) == ["right", "left"]
    assert (recipe.output_shape, recipe.task, decided.target) == ((1,), "regression", "size")


def test_an_array_may_go_into_two_inputs_and_a_target_to_two_outputs():
    data = pairs()
    both = {"left": "left", "right": "left"}
    losses = {"kind": "mean_squared_error", "size": "huber"}
    recipe, _ = fit(data, inputs=both, target=["size", "size"], loss=losses)
    assert recipe.loss == losses
    x, y = recipe.apply(data[0])
    np.testing.assert_array_equal(y["kind"], y["size"])
    np.testing.assert_array_equal(x["left"], x["right"])
    given = recipe.apply_inputs({"left": data[0]["left"]})
    np.testing.assert_array_equal(given["right"], data[0]["left"])


def test_a_recipe_of_several_survives_json_whose_order_is_lost():
    data = pairs()
    recipe, _ = fit(data, sample_weight=None)
    text = json.dumps(recipe.to_json(), sort_keys=True)
    again = Recipe.from_json(json.loads(text))
    assert again == recipe
    for one, other in zip(again.apply(data[0]), recipe.apply(data[0]), strict=True):
        assert {n: a.tobytes() for n, a in one.items()} == {
            n: a.tobytes() for n, a in other.items()
        }


@pytest.mark.parametrize(
    "change",
    [
        {"version": 1},
        {"task": "regression"},
        {"task": {"kind": "classification"}},
        {"loss": {"kind": "huber", "other": "huber"}},
        {"inputs": {"left": {"kind": "table", "columns": [], "others": []}}},
        {"target": {}},
    ],
)
def test_a_recipe_that_does_not_belong_together_is_refused(change):
    with pytest.raises(CheckpointError, match="not a recipe"):
        Recipe.from_json(fit(pairs())[0].to_json() | change)


def test_one_input_and_one_output_are_stored_as_ever():
    data = arrays(x=np.zeros((9, 2)), y=np.arange(9.0))
    recipe, decided = Recipe.fit(*data, DataSpec(target=["y"], inputs=["x"]), seed=0)
    assert recipe == Recipe.fit(*data, DataSpec(target="y"), seed=0)[0]
    assert (recipe.version, recipe.to_json()["target"]["kind"]) == (1, "values")
    assert (decided.inputs, decided.target, decided.task) == ("x", "y", "regression")


def columns(**tensors):
    described = [
        {"name": n, "type": "categorical", "categories": ["a", "b", "c"]}
        if t.dtype.kind == "i"
        else {"name": n, "type": "number"}
        for n, t in tensors.items()
    ]
    rows = len(next(iter(tensors.values())))
    return tensors, {"kind": "table", "rows": rows, "columns": described}


def test_columns_of_a_table_are_learnt_together_where_all_are_there():
    data = columns(
        a=np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        kind=np.array([0, 1, -1, 2, 1], np.int32),
        size=np.array([10.0, np.nan, 30.0, 50.0, 70.0]),
    )
    spec = DataSpec(target=["kind", "size"], split=NO_SPLIT)
    recipe, decided = Recipe.fit(*data, spec, seed=0, outputs=HEADS)
    assert decided.inputs == ["a"]
    assert recipe.rows == {"train": 3, "validation": 0, "test": 0, "dropped": 2}
    x, y = recipe.apply(data[0])
    deviation = float(np.std([10.0, 50.0, 70.0]))
    assert x.shape == (3, 1)
    assert y["kind"].tolist() == [0, 2, 1]
    np.testing.assert_allclose(y["size"][:, 0] * deviation + 130 / 3, [10.0, 50.0, 70.0])
    assert recipe.target_scale["kind"] is None
    assert recipe.target_scale["size"][1] == pytest.approx([deviation])
    raw = {"kind": np.array([[0.0, 1.0, 0.0]]), "size": np.array([[1.0]])}
    answer = recipe.invert(raw)
    assert answer["predictions"]["kind"] == ["b"]
    assert answer["predictions"]["size"] == pytest.approx([130 / 3 + deviation])
    assert answer["classes"] == {"kind": ["a", "b", "c"]}
    assert list(answer["probabilities"]) == ["kind"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"target": "size"}, "target: names 1 array for 2 outputs: 'kind', 'size'"),
        ({"target": ["size"]}, "target: names 1 array for 2 outputs"),
        ({"target": {"size": "size"}}, "target: are of 'size', the network's outputs are 'kind'"),
        ({"target": ["kind", "mass"]}, "target[1]: there is no array 'mass'; the arrays are"),
        ({"target": {"kind": "x", "size": "size"}}, "target.kind: there is no array 'x'"),
        ({"outputs": ["a", "b"]}, "target: is missing: name the array of each output: 'a', 'b'"),
        ({"task": {"other": "regression"}}, "task.other: there is no such output"),
        (
            {"task": "reconstruction"},
            "task: reconstruction is the only task of a network with one output",
        ),
        (
            {"task": "classification", "loss": {"size": "huber"}},
            "task: classification does not go with the loss huber",
        ),
        ({"loss": {"kind": "poisson", "size": "poisson"}}, "target: must be counts >= 0"),
        (
            {"target": ["kind", "size"], "loss": {"size": "softmax_cross_entropy"}},
            "target[1]: must be class numbers",
        ),
        ({"sample_weight": "right"}, "sample_weight: 'right' is the target or an input"),
    ],
)
def test_what_does_not_fit_the_outputs_is_told_where(request_, message):
    assert refused(pairs(), **request_).startswith(message)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("left", "inputs: are 'left', the network's inputs are 'left', 'right': name the array"),
        (["left", "size"], "inputs: are 'left', 'size', the network's inputs are 'left', 'right'"),
        (["left", "right", "left"], "inputs: must name each array once"),
        ({"left": "left"}, "inputs: are 'left', the network's inputs are"),
        ({"left": "left", "right": "size"}, "inputs.right: 'size' is a target"),
        ({"left": "left", "right": "up"}, "inputs.right: there is no array 'up'"),
    ],
)
def test_what_does_not_fit_the_inputs_is_told_where(inputs, message):
    assert refused(pairs(), inputs=inputs).startswith(message)


def test_arrays_that_are_short_not_finite_or_missing_are_told_where():
    assert refused(pairs(more=np.zeros(3)), target=["kind", "more"]).startswith(
        "target[1]: array 'more' has 3 rows, 'left' has 20"
    )
    data = pairs()
    data[0]["right"][7, 1] = np.nan
    assert refused(data) == "inputs: array 'right' has values that are not finite (row 7)"
    data = arrays(left=np.zeros((4, 1)), kind=np.arange(4), size=np.arange(4.0))
    assert refused(data).startswith("inputs: there is no array 'right'; the arrays are 'left'")
    with pytest.raises(SpecError, match="task: reconstruction is for a network with one input"):
        fit(pairs(), task="reconstruction", outputs=["out"])


def test_a_table_goes_into_one_input():
    data = columns(a=np.arange(4.0), b=np.arange(4.0), y=np.arange(4.0))
    with pytest.raises(SpecError, match="inputs: the network has several inputs"):
        Recipe.fit(*data, DataSpec(target="y"), seed=0, inputs=["a", "b"])


SPEC = {
    "inputs": {"left": {"shape": [3]}, "right": {"shape": [2]}},
    "layers": [
        {"kind": "concat", "inputs": ["left", "right"]},
        {"kind": "dense", "units": 4, "activation": "tanh", "name": "both"},
        {"kind": "dense", "units": 3, "name": "kind"},
        {"kind": "dense", "units": 1, "name": "size", "inputs": ["both"]},
    ],
    "outputs": ["kind", "size"],
}


def test_a_bundle_of_several_predicts_by_name():
    data = pairs()
    net, (recipe, _) = Network(SPEC, seed=1), fit(data)
    model = chainrule.load(write_bundle(net, recipe=recipe))
    inputs = {name: data[0][name] for name in SIDES}
    raw = net.predict(inputs)
    answer = model.predict({name: array.tolist() for name, array in inputs.items()})
    assert answer["predictions"]["kind"] == raw["kind"].argmax(axis=1).tolist()
    np.testing.assert_allclose(answer["predictions"]["size"], raw["size"][:, 0], rtol=1e-6)
    assert set(answer["probabilities"]) == set(answer["classes"]) == {"kind"}
    assert chainrule.load(write_bundle(net)).predict(inputs)["predictions"] == {
        name: array.tolist() for name, array in raw.items()
    }


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([[1, 2, 3]], "inputs: must be an object with the arrays 'left', 'right', got a list"),
        ({"left": [[1, 2, 3]]}, "inputs.right: is missing"),
        ({"left": [[1, 2, 3]], "right": [[1, 2]], "up": [1]}, "inputs.up: is not an input"),
        ({"left": [[1, 2, 3]], "right": [[1]]}, "inputs.right: must have shape (rows, 2), got"),
        ({"left": [[1, 2, 3]], "right": [[1, "a"]]}, "inputs.right[0][1]: must be a number"),
        ({"left": [[1, 2, 3]] * 2, "right": [[1, 2]]}, "inputs.right: has 1 row, 'left' has 2"),
        (7, "inputs: must be an object with the arrays"),
    ],
)
@pytest.mark.parametrize("with_recipe", [True, False])
def test_inputs_of_a_prediction_that_do_not_fit_are_told_where(inputs, message, with_recipe):
    recipe = fit(pairs())[0] if with_recipe else None
    model = chainrule.load(write_bundle(Network(SPEC), recipe=recipe))
    with pytest.raises(DataError) as error:
        model.predict(inputs)
    assert str(error.value).startswith(message)


def test_a_word_that_is_none_is_named_by_the_array_that_holds_it():
    layers = [
        {"kind": "embedding", "input_dim": 5, "output_dim": 2, "inputs": ["words"]},
        {"kind": "flatten"},
        {"kind": "concat", "inputs": ["flatten_1", "right"]},
        {"kind": "dense", "units": 1},
    ]
    inputs = {"words": {"shape": [3]}, "right": {"shape": [2]}}
    data = arrays(text=np.ones((9, 3)), right=np.zeros((9, 2)), y=np.arange(9.0))
    spec = DataSpec(inputs={"words": "text", "right": "right"}, target="y")
    recipe, _ = Recipe.fit(*data, spec, seed=0, inputs=list(inputs))
    net = Network({"inputs": inputs, "layers": layers})
    model = chainrule.load(write_bundle(net, recipe=recipe))
    with pytest.raises(DataError, match=r"^inputs.text\[1\]: must be whole numbers from 0 to 4"):
        model.predict({"text": [[0, 1, 2], [0, 5, 1]], "right": [[0, 0]] * 2})
    net.parameters["dense_1.kernel"][...] = np.inf
    model = chainrule.load(write_bundle(net, recipe=recipe))
    with pytest.raises(DataError, match=r"^inputs: row 0 leads the network to an output"):
        model.predict({"text": [[0, 1, 2]], "right": [[1, 1]]})
